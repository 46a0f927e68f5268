"""Sparse Modular Activation: every element decides which sub-modules it activates, and skips the rest."""

from sma.activation import SMA, SMAState, SparseModularActivation
from sma.compaction import CapacityCompaction, Compaction, PackedCompaction, PaddedCompaction
from sma.elements import Elements
from sma.recording import LayerRecord, Recording, naming, record
from sma.routing import Router, Routing, mask_padding
from sma.sequence import PerElement, SequenceModule
from sma.spec import OneOf, Spec, register
from sma.state import NoState, State
from sma.sub_module import Pointwise, SubModule

__version__ = "0.1.0"

__all__ = [
    "SMA",
    "CapacityCompaction",
    "Compaction",
    "Elements",
    "LayerRecord",
    "NoState",
    "OneOf",
    "PackedCompaction",
    "PaddedCompaction",
    "PerElement",
    "Pointwise",
    "Recording",
    "Router",
    "Routing",
    "SMAState",
    "SequenceModule",
    "SparseModularActivation",
    "Spec",
    "State",
    "SubModule",
    "mask_padding",
    "naming",
    "record",
    "register",
]
