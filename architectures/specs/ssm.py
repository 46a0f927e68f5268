"""Specs of state space models: as mixers, and as sub-modules."""

from typing import Annotated, Literal

from pydantic import Field, model_validator
from typing_extensions import override

from sma import OneOf, register
from sma.architectures.specs.families import LayerSpec, SubModuleSpec
from sma.architectures.specs.fields import Positive, Size
from sma.modules.ssm.diagonal import DiagonalSSM
from sma.modules.ssm.ema import MultiHeadEMA
from sma.modules.ssm.mamba2 import SelectiveSSM
from sma.modules.ssm.s4d import S4D
from sma.modules.ssm.sub_module import SSMSubModule
from sma.spec.base import as_arguments


@register
class EMASpec(LayerSpec):
    """Builds `MultiHeadEMA`."""

    kind: Literal["ema"] = "ema"
    d_state: Size = 16
    bidirectional: bool = False
    truncation: Size | None = None

    @override
    def build(self, d_model: int) -> MultiHeadEMA:
        return MultiHeadEMA(d_model, **as_arguments(self))


@register
class S4DSpec(LayerSpec):
    """Builds `S4D`.

    Attributes:
        d_state: real states per channel, even.
        bidirectional: whether it also runs backwards.
        step_min: the shortest initial time step.
        step_max: the longest.
    """

    kind: Literal["s4d"] = "s4d"
    d_state: Annotated[Size, Field(multiple_of=2)] = 64
    bidirectional: bool = False
    step_min: Positive = 0.001
    step_max: Positive = 0.1

    @override
    def build(self, d_model: int) -> S4D:
        return S4D(d_model, **as_arguments(self))


@register
class SelectiveSSMSpec(LayerSpec):
    """Builds `SelectiveSSM`, Mamba-2's form.

    Attributes:
        d_state: states per channel.
        d_head: channels that share a decay; divides `expand` times the model's width.
        expand: inner width, relative to the model's.
        kernel_size: of the convolution before it.
    """

    kind: Literal["selective_ssm"] = "selective_ssm"
    d_state: Size = 64
    d_head: Size = 64
    expand: Size = 2
    kernel_size: Size = 4

    @override
    def build(self, d_model: int) -> SelectiveSSM:
        return SelectiveSSM(d_model, **as_arguments(self))


@register
class SSMSubModuleSpec(SubModuleSpec):
    """Builds `SSMSubModule`: a state space model over activated elements, with the real gaps between them.

    Attributes:
        ssm: of kind ema or s4d.
    """

    kind: Literal["ssm"] = "ssm"
    ssm: OneOf[LayerSpec] = EMASpec()

    @model_validator(mode="after")
    def _check_kind(self) -> "SSMSubModuleSpec":
        if not isinstance(self.ssm, EMASpec | S4DSpec):
            raise ValueError(
                f"ssm must be of kind ema or s4d, got {self.ssm.kind}; use kind layer for others"
            )
        return self

    @override
    def build(self, d_model: int) -> SSMSubModule:
        ssm = self.ssm.build(d_model)
        assert isinstance(ssm, DiagonalSSM)
        return SSMSubModule(ssm)
