"""Contract suites and Hypothesis strategies, and the check of any model as a black box.

Give a factory, inherit every property:

    class TestMyModule(SubModuleContract):
        def make(self):
            return MyModule(self.d_model)

Give any model, and `check_model` tries the properties on it from outside.

Needs pytest and hypothesis: `pip install 'sparse-modular-activation[test]'`.
"""

from sma.lazy import needs

with needs("test", "sma.testing"):
    import hypothesis  # noqa: F401
    import pytest  # noqa: F401

from sma.testing.black_box import Finding, Report, check_model
from sma.testing.compaction_contract import CompactionContract
from sma.testing.oracle import oracle
from sma.testing.router_contract import RouterContract
from sma.testing.sequence_contract import SequenceModuleContract
from sma.testing.spec_contract import SpecContract
from sma.testing.strategies import (
    Chunk,
    Layout,
    activities,
    compactions,
    degenerate_layouts,
    layouts,
    routings,
    schedules,
)
from sma.testing.sub_module_contract import SubModuleContract
from sma.testing.toys import CausalMean, FixedRouter, InputRouter

__all__ = [
    "CausalMean",
    "Chunk",
    "CompactionContract",
    "Finding",
    "FixedRouter",
    "InputRouter",
    "Layout",
    "Report",
    "RouterContract",
    "SequenceModuleContract",
    "SpecContract",
    "SubModuleContract",
    "activities",
    "check_model",
    "compactions",
    "degenerate_layouts",
    "layouts",
    "oracle",
    "routings",
    "schedules",
]
