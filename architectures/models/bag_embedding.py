"""Embedding of elements that are bags of tokens, such as the words that describe a node; and its spec."""

from typing import Literal

import torch
from torch import Tensor, nn
from typing_extensions import override

from sma import OneOf, register
from sma.architectures.models.embeddings import Embedding
from sma.architectures.specs.families import Dropout, EmbeddingSpec, NormSpec, Size
from sma.checks import describe
from sma.modules.norms import Norm


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
        means = nn.functional.embedding_bag(bags, self.weight, mode="mean", padding_idx=0)
        return means.view(*inputs.shape[:2], self.weight.shape[1])


@register
class BagSpec(EmbeddingSpec):
    """Builds `BagEmbedding`."""

    kind: Literal["bag"] = "bag"
    vocab_size: Size
    sinusoid: bool = False
    norm: OneOf[NormSpec] | None = None
    dropout: Dropout = 0.0

    @override
    def build(self, d_model: int) -> BagEmbedding:
        return BagEmbedding(
            d_model,
            vocab_size=self.vocab_size,
            sinusoid=self.sinusoid,
            norm=None if self.norm is None else self.norm.build(d_model),
            dropout=self.dropout,
        )
