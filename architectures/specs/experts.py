"""Specs of mixtures of experts."""

from typing import Literal

from typing_extensions import override

from sma import OneOf, register
from sma.architectures.specs.families import Activation, Dropout, LayerSpec, Positive, RouterSpec, Size
from sma.modules.experts import ExpertBank, MixtureOfExperts


@register
class MixtureOfExpertsSpec(LayerSpec):
    """Builds `MixtureOfExperts`: feed-forwards of equal shape behind a router, computed as one bank.

    Attributes:
        router: usually of kind top_k.
        n_experts: number of experts.
        d_hidden: hidden width of each.
        gated: whether they are gated feed-forwards.
        activation: their element-wise function.
        dropout: on the hidden units.
        capacity_factor: limit of an expert's share of a row, relative to an equal share; None for no limit.
    """

    kind: Literal["mixture_of_experts"] = "mixture_of_experts"
    router: OneOf[RouterSpec]
    n_experts: Size
    d_hidden: Size
    gated: bool = True
    activation: Activation = "silu"
    dropout: Dropout = 0.0
    capacity_factor: Positive | None = None

    @override
    def build(self, d_model: int) -> MixtureOfExperts:
        bank = ExpertBank(
            d_model,
            n_experts=self.n_experts,
            d_hidden=self.d_hidden,
            gated=self.gated,
            activation=self.activation,
            dropout=self.dropout,
        )
        router = self.router.build(d_model, self.n_experts)
        return MixtureOfExperts(router, bank, capacity_factor=self.capacity_factor)
