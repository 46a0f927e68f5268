"""Specs of norms."""

from typing import Literal

from typing_extensions import override

from sma import register
from sma.architectures.specs.families import NormSpec
from sma.architectures.specs.fields import Share
from sma.modules.norms import BatchNorm, LayerNorm, NoNorm, RMSNorm, ScaleNorm
from sma.spec.base import as_arguments

Epsilon = Share


class _Affine(NormSpec):
    eps: Epsilon = 1e-5
    affine: bool = True


@register
class LayerNormSpec(_Affine):
    """Builds `LayerNorm`."""

    kind: Literal["layer_norm"] = "layer_norm"

    @override
    def build(self, d_model: int) -> LayerNorm:
        return LayerNorm(d_model, **as_arguments(self))


@register
class RMSNormSpec(_Affine):
    """Builds `RMSNorm`."""

    kind: Literal["rms_norm"] = "rms_norm"

    @override
    def build(self, d_model: int) -> RMSNorm:
        return RMSNorm(d_model, **as_arguments(self))


@register
class ScaleNormSpec(_Affine):
    """Builds `ScaleNorm`."""

    kind: Literal["scale_norm"] = "scale_norm"

    @override
    def build(self, d_model: int) -> ScaleNorm:
        return ScaleNorm(d_model, **as_arguments(self))


@register
class BatchNormSpec(NormSpec):
    """Builds `BatchNorm`.

    Attributes:
        sync: take statistics over all ranks of a distributed run.
    """

    kind: Literal["batch_norm"] = "batch_norm"
    eps: Epsilon = 1e-5
    momentum: Share = 0.1
    affine: bool = True
    sync: bool = False

    @override
    def build(self, d_model: int) -> BatchNorm:
        return BatchNorm(d_model, **as_arguments(self))


@register
class NoNormSpec(NormSpec):
    """Builds `NoNorm`."""

    kind: Literal["none"] = "none"

    @override
    def build(self, d_model: int) -> NoNorm:
        return NoNorm()
