"""Sparse Modular Activation: every element decides which sub-modules it activates, and skips the rest."""

from typing import TYPE_CHECKING, Any

from sma.lazy import lazy_names

if TYPE_CHECKING:
    from sma.activation import SMA, SMAState, SparseModularActivation
    from sma.compaction import CapacityCompaction, Compaction, PackedCompaction, PaddedCompaction
    from sma.compilation import recorded
    from sma.elements import Edges, Elements
    from sma.recomputation import Forced, forcing, recompute, recomputing, replayed
    from sma.recording import LayerRecord, Recording, naming, record
    from sma.routing import Router, Routing, mask_padding
    from sma.sequence import PerElement, SequenceModule
    from sma.spec.base import Spec
    from sma.spec.registry import OneOf, register
    from sma.state import NoState, State
    from sma.sub_module import Pointwise, SubModule

    def sparsify(model: Any, spec: Any = None, **fields: Any) -> Any:
        """See `sma.transformers.sparsify`."""


__version__ = "0.1.0"

__all__ = [
    "SMA",
    "CapacityCompaction",
    "Compaction",
    "Edges",
    "Elements",
    "Forced",
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
    "forcing",
    "mask_padding",
    "naming",
    "recompute",
    "recomputing",
    "record",
    "recorded",
    "register",
    "replayed",
]

lazy_names(  # `sma --help` needs no torch
    __name__,
    [
        "activation",
        "compaction",
        "compilation",
        "elements",
        "recomputation",
        "recording",
        "routing",
        "sequence",
        "spec.base",
        "spec.registry",
        "state",
        "sub_module",
    ],
    elsewhere={"sparsify": "sma.transformers"},
)
