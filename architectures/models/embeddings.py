"""Embeddings: tokens, feature vectors and single numbers to `(B, L, D)`, and their specs."""

import math
from abc import ABC, abstractmethod
from typing import Any, Literal

import torch
from torch import Tensor, nn
from typing_extensions import override

from sma import OneOf, register
from sma.architectures.specs.families import EmbeddingSpec, NormSpec
from sma.architectures.specs.fields import Dropout, Size
from sma.checks import check_dtype, describe, is_mapped
from sma.modules.functional import angles, at_least_float32, linear
from sma.modules.norms import Norm
from sma.sequence import check_mask
from sma.spec.base import as_arguments


class ScaledSinusoid(nn.Module):
    r"""Absolute positions: sines and cosines of `position / 10000^(2i/D)`, times one learned scale.

    The scale starts at \(1/\sqrt{D}\), as in the published SeqBoat models.

    Args:
        d_model: D, even.

    Raises:
        ValueError: if `d_model` is odd.

    Example:
        >>> ScaledSinusoid(8)(torch.arange(5)[None]).shape
        torch.Size([1, 5, 8])
    """

    def __init__(self, d_model: int) -> None:
        super().__init__()
        if d_model % 2:
            raise ValueError(f"sinusoidal positions need an even d_model, got {d_model}; change it by one")
        self.d_model = d_model
        self.scale = nn.Parameter(torch.full((1,), d_model**-0.5))

    @override
    def forward(self, position: Tensor) -> Tensor:
        """`(B, L)` long -> `(B, L, D)`."""
        exponent = torch.arange(0, self.d_model, 2, device=position.device).double() / self.d_model
        angle = angles(position, 10000.0**-exponent).to(at_least_float32(self.scale.dtype))
        return torch.cat((angle.sin(), angle.cos()), -1).to(self.scale.dtype) * self.scale


class Embedding(nn.Module, ABC):
    """Base of embeddings: subclasses embed elements one by one, this adds positions, a norm and dropout.

    One in which elements see later ones says `causal = False`, and a language model refuses it.

    Args:
        d_model: D.
        sinusoid: add `ScaledSinusoid` positions.
        norm: applied then, or None.
        dropout: probability.
    """

    causal: bool = True

    def __init__(self, d_model: int, *, sinusoid: bool, norm: Norm | None, dropout: float) -> None:
        super().__init__()
        self.sinusoid = ScaledSinusoid(d_model) if sinusoid else None
        self.norm = norm
        self.dropout = nn.Dropout(dropout)

    @abstractmethod
    def embed(self, inputs: Tensor) -> Tensor:
        """Inputs `(B, L, ...)` -> `(B, L, D)`."""

    @override
    def forward(self, inputs: Tensor, mask: Tensor | None = None, offset: Tensor | None = None) -> Tensor:
        """Embed inputs.

        Args:
            inputs: `(B, L, ...)`.
            mask: `(B, L)` bool, True = a real element; positions count real elements only.
            offset: `(B,)` long; elements that each row has seen before these.

        Returns:
            `(B, L, D)`, 0 at padding.
        """
        if not isinstance(inputs, Tensor):
            raise ValueError(f"inputs must be a tensor (B, L, ...), got {describe(inputs)}")
        check_mask(mask, inputs)
        if mask is not None:  # padding may hold anything, such as the token -100
            inputs = inputs.masked_fill(~mask.view(*mask.shape, *[1] * (inputs.dim() - 2)), 0)
        x = self.embed(inputs)
        if self.sinusoid is not None:
            real = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device) if mask is None else mask
            position = (real.cumsum(1) - 1).clamp(min=0)
            x = x + self.sinusoid(position if offset is None else position + offset[:, None])
        if self.norm is not None:
            x = self.norm(x, mask)
        x = self.dropout(x)
        return x if mask is None else x.masked_fill(~mask.unsqueeze(-1), 0)


class TokenEmbedding(Embedding):
    r"""One vector per token, times \(\sqrt{D}\) with `scale`; normal with std \(1/\sqrt{D}\).

    Args:
        d_model: D.
        vocab_size: number of tokens.
        scale: multiply by \(\sqrt{D}\).
        sinusoid: see `Embedding`.
        norm: see `Embedding`.
        dropout: see `Embedding`.

    Example:
        >>> TokenEmbedding(8, vocab_size=100)(torch.zeros(2, 3, dtype=torch.long)).shape
        torch.Size([2, 3, 8])
    """

    def __init__(
        self,
        d_model: int,
        *,
        vocab_size: int,
        scale: bool = False,
        sinusoid: bool = False,
        norm: Norm | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(d_model, sinusoid=sinusoid, norm=norm, dropout=dropout)
        self.weight = nn.Parameter(torch.randn(vocab_size, d_model) * d_model**-0.5)
        self.factor = math.sqrt(d_model) if scale else 1.0

    @override
    def embed(self, inputs: Tensor) -> Tensor:
        """Tokens `(B, L)` long -> `(B, L, D)`."""
        if inputs.dim() != 2 or inputs.is_floating_point():
            raise ValueError(f"tokens must be (B, L) integers, (B,) in a step, got {describe(inputs)}")
        inputs = inputs.long()
        if inputs.numel() and self._can_be_asked(inputs):
            lowest, highest = map(int, inputs.aminmax())
            if lowest < 0 or highest >= len(self.weight):
                wrong = lowest if lowest < 0 else highest
                raise ValueError(
                    f"token {wrong} is not in the vocabulary, 0 to {len(self.weight) - 1}; mask padding, or "
                    "raise vocab_size"
                )
        return nn.functional.embedding(inputs, self.weight) * self.factor

    @staticmethod
    def _can_be_asked(inputs: Tensor) -> bool:
        """Whether values are known: not to compiled code or `torch.func.vmap`; a GPU would be waited for."""
        return inputs.device.type == "cpu" and not torch.compiler.is_compiling() and not is_mapped(inputs)


class FeatureEmbedding(Embedding):
    """A linear map of feature vectors; truncated normal weights with std 0.02, zero bias.

    Args:
        d_model: D.
        d_input: features per element.
        sinusoid: see `Embedding`.
        norm: see `Embedding`.
        dropout: see `Embedding`.

    Example:
        >>> FeatureEmbedding(8, d_input=3)(torch.zeros(2, 5, 3)).shape
        torch.Size([2, 5, 8])
    """

    def __init__(
        self,
        d_model: int,
        *,
        d_input: int,
        sinusoid: bool = False,
        norm: Norm | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(d_model, sinusoid=sinusoid, norm=norm, dropout=dropout)
        self.d_input = d_input
        self.linear = linear(d_input, d_model)

    @override
    def embed(self, inputs: Tensor) -> Tensor:
        """Features `(B, L, d_input)` -> `(B, L, D)`."""
        d_input = self.d_input
        if inputs.dim() != 3 or inputs.shape[-1] != d_input or not inputs.is_floating_point():
            raise ValueError(
                f"features must be (B, L, {d_input}) floating point, (B, {d_input}) in a step, got "
                f"{describe(inputs)}"
            )
        check_dtype(inputs, self.linear)
        return self.linear(inputs)


class ScalarEmbedding(Embedding):
    """One real number per element, times a vector plus a vector: pixels and audio samples.

    Weights are standard normal, biases normal with std 0.1, as in the published SeqBoat models.

    Args:
        d_model: D.
        sinusoid: see `Embedding`.
        norm: see `Embedding`.
        dropout: see `Embedding`.

    Example:
        >>> ScalarEmbedding(8)(torch.zeros(2, 5)).shape
        torch.Size([2, 5, 8])
    """

    def __init__(
        self, d_model: int, *, sinusoid: bool = False, norm: Norm | None = None, dropout: float = 0.0
    ) -> None:
        super().__init__(d_model, sinusoid=sinusoid, norm=norm, dropout=dropout)
        self.weight = nn.Parameter(torch.randn(d_model))
        self.bias = nn.Parameter(torch.randn(d_model) * 0.1)

    @override
    def embed(self, inputs: Tensor) -> Tensor:
        """Numbers `(B, L)` -> `(B, L, D)`."""
        if inputs.dim() != 2:
            raise ValueError(f"numbers must be (B, L), (B,) in a step, got {describe(inputs)}")
        return inputs.unsqueeze(-1).to(self.weight) * self.weight + self.bias


class BagEmbedding(Embedding):
    r"""The mean of the vectors of an element's tokens; token 0 means "none".

    Vectors start normal with std \(1/\sqrt{D}\); a bag without tokens is 0.

    Args:
        d_model: D.
        vocab_size: number of tokens, "none" included.
        sinusoid: see `Embedding`.
        norm: see `Embedding`.
        dropout: see `Embedding`.

    Example:
        >>> bags = torch.tensor([[[3, 1, 0], [0, 0, 0]]])  # two tokens, and none
        >>> BagEmbedding(8, vocab_size=100)(bags).shape
        torch.Size([1, 2, 8])
    """

    def __init__(
        self,
        d_model: int,
        *,
        vocab_size: int,
        sinusoid: bool = False,
        norm: Norm | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(d_model, sinusoid=sinusoid, norm=norm, dropout=dropout)
        self.weight = nn.Parameter(torch.randn(vocab_size, d_model) * d_model**-0.5)

    @override
    def embed(self, inputs: Tensor) -> Tensor:
        """Bags `(B, L, K)` of integers -> `(B, L, D)`."""
        if inputs.dim() != 3 or inputs.is_floating_point():
            raise ValueError(f"bags must be (B, L, K) integers, (B, K) in a step, got {describe(inputs)}")
        bags = inputs.flatten(0, 1)
        weight = self.weight.to(at_least_float32(self.weight.dtype))  # sums overflow in float16
        means = nn.functional.embedding_bag(bags, weight, mode="mean", padding_idx=0)
        return means.to(self.weight.dtype).view(*inputs.shape[:2], self.weight.shape[1])


class _ElementsSpec(EmbeddingSpec):
    """Fields of every embedding, see `Embedding`."""

    sinusoid: bool = False
    norm: OneOf[NormSpec] | None = None
    dropout: Dropout = 0.0

    def _options(self, d_model: int) -> dict[str, Any]:
        """The arguments of what is built, with the norm built."""
        return as_arguments(self, norm=None if self.norm is None else self.norm.build(d_model))


@register
class TokensSpec(_ElementsSpec):
    """Builds `TokenEmbedding`."""

    kind: Literal["tokens"] = "tokens"
    vocab_size: Size
    scale: bool = False

    @override
    def build(self, d_model: int) -> TokenEmbedding:
        return TokenEmbedding(d_model, **self._options(d_model))


@register
class FeaturesSpec(_ElementsSpec):
    """Builds `FeatureEmbedding`."""

    kind: Literal["features"] = "features"
    d_input: Size

    @override
    def build(self, d_model: int) -> FeatureEmbedding:
        return FeatureEmbedding(d_model, **self._options(d_model))


@register
class ScalarsSpec(_ElementsSpec):
    """Builds `ScalarEmbedding`."""

    kind: Literal["scalars"] = "scalars"

    @override
    def build(self, d_model: int) -> ScalarEmbedding:
        return ScalarEmbedding(d_model, **self._options(d_model))


@register
class BagSpec(_ElementsSpec):
    """Builds `BagEmbedding`."""

    kind: Literal["bag"] = "bag"
    vocab_size: Size

    @override
    def build(self, d_model: int) -> BagEmbedding:
        return BagEmbedding(d_model, **self._options(d_model))
