"""Sparse Modular Activation: every element decides which sub-modules it activates, and skips the rest."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sma.activation import SMA, SMAState, SparseModularActivation
    from sma.compaction import CapacityCompaction, Compaction, PackedCompaction, PaddedCompaction
    from sma.edges import Edges
    from sma.elements import Elements
    from sma.recomputation import recompute, recomputing, replayed
    from sma.recording import LayerRecord, Recording, naming, record
    from sma.routing import Router, Routing, mask_padding
    from sma.sequence import PerElement, SequenceModule
    from sma.spec.base import Spec
    from sma.spec.registry import OneOf, register
    from sma.state import NoState, State
    from sma.sub_module import Pointwise, SubModule

__version__ = "0.1.0"

__all__ = [
    "SMA",
    "CapacityCompaction",
    "Compaction",
    "Edges",
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
    "recompute",
    "recomputing",
    "record",
    "register",
    "replayed",
]

_PARTS = (
    "activation",
    "compaction",
    "edges",
    "elements",
    "recomputation",
    "recording",
    "routing",
    "sequence",
    "spec.base",
    "spec.registry",
    "state",
    "sub_module",
)


def __getattr__(name: str) -> Any:
    """Import the parts at the first use of a name: `sma --help` then needs no torch."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    for part in _PARTS:
        module = import_module(f"{__name__}.{part}")
        globals().update({key: value for key, value in vars(module).items() if key in __all__})
    return globals()[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
