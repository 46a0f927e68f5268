"""Heads: `(B, L, D)` to class scores or next-token scores, and their specs."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from typing_extensions import override

from sma import register
from sma.architectures.models.embeddings import TokenEmbedding
from sma.architectures.specs.families import HeadSpec
from sma.architectures.specs.fields import Activation, Dropout, Size
from sma.modules.functional import activation_function, at_least_float32, linear
from sma.sequence import matrix_flops


def mean_pool(x: Tensor, mask: Tensor | None) -> Tensor:
    """The mean of each row's real elements, `(B, L, D) -> (B, D)`; 0 for a row without any.

    Summed in float32 at least: a sum of 65,520 or more is infinite in float16.
    """
    real = x if mask is None else x.masked_fill(~mask.unsqueeze(-1), 0)
    total = real.sum(1, dtype=at_least_float32(x.dtype))
    return (total / (max(x.shape[1], 1) if mask is None else mask.sum(1, keepdim=True).clamp(min=1))).to(x)


def first(x: Tensor, mask: Tensor | None) -> Tensor:
    """Each row's first real element, `(B, L, D) -> (B, D)`; for a row without any, the first of all, or 0."""
    if x.shape[1] == 0:
        return x.sum(1)
    if mask is None:
        return x[:, 0]
    at = mask.long().argmax(1)[:, None, None].expand(-1, 1, x.shape[2])
    return x.gather(1, at).squeeze(1)


_POOLINGS = {"mean": mean_pool, "first": first}


class Classifier(nn.Module):
    """Pooling over real elements, then one or two linear layers.

    Args:
        d_model: D.
        n_classes: C.
        n_documents: 1, or 2 to classify pairs: their pooled rows u, v enter as [v, u, u * v, u - v], as in
            the published retrieval model.
        interactions: of pairs; without, u and v enter as [v, u].
        pooling: mean, or first for each row's first element.
        d_hidden: width of a hidden layer; None for no hidden layer.
        activation: of the hidden layer.
        bias: of the last layer.
        dropout: on the hidden layer, before the activation as published.

    Example:
        >>> Classifier(8, n_classes=10, d_hidden=16)(torch.zeros(2, 5, 8)).shape
        torch.Size([2, 10])
    """

    def __init__(
        self,
        d_model: int,
        *,
        n_classes: int,
        n_documents: int = 1,
        interactions: bool = True,
        pooling: str = "mean",
        d_hidden: int | None = None,
        activation: Callable[[Tensor], Tensor] = nn.functional.gelu,
        bias: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.pool = _POOLINGS[pooling]
        self.interactions = interactions
        self.activation = activation
        d_pooled = d_model * (1 if n_documents == 1 else 4 if interactions else 2)
        if d_hidden is None:
            self.hidden = None
            self.output = linear(d_pooled, n_classes, bias=bias)
            return
        hidden = nn.Linear(d_pooled, d_hidden)
        self.hidden = nn.Sequential(hidden, nn.Dropout(dropout))
        self.output = nn.Linear(d_hidden, n_classes, bias=bias)
        for layer in (hidden, self.output):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)

    @override
    def forward(
        self,
        x: Tensor | tuple[Tensor, Tensor],
        mask: Tensor | tuple[Tensor | None, Tensor | None] | None = None,
    ) -> Tensor:
        """Score classes.

        Args:
            x: `(B, L, D)`, or two of them for a pair of documents.
            mask: `(B, L)` bool, or two of them.

        Returns:
            `(B, C)`.
        """
        if isinstance(x, tuple):
            masks = mask if isinstance(mask, tuple) else (None, None)
            u, v = (self.pool(*document) for document in zip(x, masks, strict=True))
            pooled = torch.cat((v, u, u * v, u - v) if self.interactions else (v, u), -1)
        else:
            pooled = self.pool(x, mask)  # type: ignore[arg-type]
        return self.output(pooled if self.hidden is None else self.activation(self.hidden(pooled)))

    def flops(self, n: int) -> int:
        """Floating-point operations for a row of `n` elements, which do not depend on n but for 0."""
        return matrix_flops(self) if n else 0


class LanguageModelHead(nn.Module):
    """Next-token scores.

    Args:
        d_model: D.
        embedding: whose weights are used, with `tie_embedding`.
        tie_embedding: share the token embedding's matrix.

    Raises:
        ValueError: if `embedding` embeds no tokens.

    Example:
        >>> embedding = TokenEmbedding(8, vocab_size=100)
        >>> LanguageModelHead(8, embedding=embedding)(torch.zeros(2, 5, 8)).shape
        torch.Size([2, 5, 100])
    """

    needs_causal = True

    def __init__(self, d_model: int, *, embedding: nn.Module, tie_embedding: bool = True) -> None:
        super().__init__()
        if not isinstance(embedding, TokenEmbedding):
            raise ValueError(
                f"head language_model predicts tokens, but the embedding is {type(embedding).__name__}; "
                "use an embedding of kind tokens"
            )
        self.d_model, self.vocab_size = d_model, len(embedding.weight)
        self._tied: tuple[TokenEmbedding, ...] = (embedding,) if tie_embedding else ()
        self.output = None if tie_embedding else nn.Linear(d_model, self.vocab_size, bias=False)
        if self.output is not None:
            nn.init.normal_(self.output.weight, std=d_model**-0.5)

    @property
    def embedding(self) -> TokenEmbedding | None:
        """The embedding whose matrix is shared; None for a head with its own.

        It is not one of this module's parts: the weights belong to the model's embedding alone, and stay
        shared whatever replaces them there.
        """
        return self._tied[0] if self._tied else None

    @property
    def weight(self) -> Tensor:
        """The matrix `(V, D)`."""
        return self._tied[0].weight if self.output is None else self.output.weight

    @override
    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """`(B, L, D) -> (B, L, V)`."""
        return nn.functional.linear(x, self.weight) if self.output is None else self.output(x)

    def flops(self, n: int) -> int:
        """Floating-point operations for `n` elements; a multiply-add counts as 2."""
        return 2 * n * self.d_model * self.vocab_size


@register
class ClassifierSpec(HeadSpec):
    """Builds `Classifier`."""

    kind: Literal["classifier"] = "classifier"
    n_classes: Size
    n_documents: Literal[1, 2] = 1
    interactions: bool = True
    pooling: Literal["mean", "first"] = "mean"
    d_hidden: Size | None = None
    activation: Activation = "gelu"
    bias: bool = True
    dropout: Dropout = 0.0

    @override
    def build(self, d_model: int, embedding: nn.Module) -> Classifier:
        options = self.model_dump(exclude={"kind", "activation"})
        return Classifier(d_model, activation=activation_function(self.activation), **options)


@register
class LanguageModelSpec(HeadSpec):
    """Builds `LanguageModelHead`."""

    kind: Literal["language_model"] = "language_model"
    tie_embedding: bool = True

    @property
    @override
    def needs_causal(self) -> bool:
        return True

    @override
    def build(self, d_model: int, embedding: nn.Module) -> LanguageModelHead:
        return LanguageModelHead(d_model, embedding=embedding, tie_embedding=self.tie_embedding)
