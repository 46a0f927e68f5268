"""Specs of linear maps, feed-forwards, experts and convolutions."""

from typing import Literal

from typing_extensions import override

from sma import OneOf, PerElement, SubModule, register
from sma.architectures.specs.families import LayerSpec, RouterSpec, SubModuleSpec
from sma.architectures.specs.fields import Activation, Dropout, Positive, Size
from sma.modules.convolution import CausalConvolution
from sma.modules.experts import ExpertBank, MixtureOfExperts
from sma.modules.feed_forward import FeedForward, GatedFeedForward
from sma.modules.functional import linear
from sma.spec.base import as_arguments


@register
class LinearSpec(LayerSpec):
    """Builds a linear map of every element."""

    kind: Literal["linear"] = "linear"
    bias: bool = True

    @override
    def build(self, d_model: int) -> PerElement:
        return PerElement(linear(d_model, d_model, bias=self.bias))


@register
class FeedForwardSpec(SubModuleSpec):
    """Builds `FeedForward`, or `GatedFeedForward`.

    Attributes:
        d_hidden: width between the maps.
        gated: whether a gate multiplies the hidden units; SwiGLU is gated, with silu and without biases.
        activation: the element-wise function of the hidden units, or of the gate.
        dropout: on the hidden units.
        bias: whether the maps have biases.
    """

    kind: Literal["feed_forward"] = "feed_forward"
    d_hidden: Size
    gated: bool = False
    activation: Activation = "gelu"
    dropout: Dropout = 0.0
    bias: bool = True

    @override
    def build(self, d_model: int) -> SubModule:
        form = GatedFeedForward if self.gated else FeedForward
        return form(d_model, **self.model_dump(exclude={"kind", "gated"}))


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
        options = as_arguments(self)
        router, factor = options.pop("router"), options.pop("capacity_factor")
        bank = ExpertBank(d_model, **options)
        return MixtureOfExperts(router.build(d_model, self.n_experts), bank, capacity_factor=factor)


@register
class ConvolutionSpec(SubModuleSpec):
    """Builds `CausalConvolution` over activated elements."""

    kind: Literal["convolution"] = "convolution"
    kernel_size: Size
    activation: Activation = "identity"
    bias: bool = True

    @override
    def build(self, d_model: int) -> CausalConvolution:
        return CausalConvolution(d_model, **as_arguments(self))
