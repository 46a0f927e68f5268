"""Specs and what they build: SeqBoat, its relatives and anything composed from the same parts."""

if __name__ == "architectures":
    raise ImportError("import sma.architectures, not architectures: the bare name is only its folder")

from sma.architectures import blocks, files, models, presets, published, specs
from sma.architectures.blocks import *
from sma.architectures.files import *
from sma.architectures.models import *
from sma.architectures.presets import *
from sma.architectures.published import *
from sma.architectures.specs import *

__all__ = sorted(
    {*blocks.__all__, *files.__all__, *models.__all__, *presets.__all__, *published.__all__, *specs.__all__}
)
