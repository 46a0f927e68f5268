"""Specs and what they build: SeqBoat, its relatives and anything composed from the same parts."""

if __name__ == "architectures":
    raise ImportError("import sma.architectures, not architectures: the bare name is only its folder")

from sma.architectures.blocks import Residual, ResidualSpec
from sma.architectures.files import dump_spec, load_model, load_spec, parse_spec, save_model
from sma.architectures.presets import SeqBoatOptions, seqboat, seqboat_block
from sma.architectures.routed_blocks import BlocksSpec, RoutedLayerSpec, Stack
from sma.architectures.seqboat_layer import SeqBoat
from sma.architectures.sequence_model import SequenceModel, SequenceModelSpec

__all__ = [
    "Residual",
    "ResidualSpec",
    "SeqBoat",
    "SeqBoatOptions",
    "SequenceModel",
    "SequenceModelSpec",
    "dump_spec",
    "load_model",
    "load_spec",
    "parse_spec",
    "save_model",
    "seqboat",
    "seqboat_block",
]
