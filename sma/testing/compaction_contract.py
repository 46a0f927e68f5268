"""The contract suite of compactions."""

from typing import Any

import torch
from torch import Tensor

from sma.activation import SparseModularActivation
from sma.compaction import Compaction
from sma.elements import Elements
from sma.testing.contract import (
    Contract,
    assert_close,
    assert_finite,
    assert_gradcheck,
    assert_zero,
    gradients,
    prepare,
    probe,
    property_test,
)
from sma.testing.oracle import oracle
from sma.testing.sequence_contract import SequenceModuleContract
from sma.testing.strategies import NAN, Draw, Layout, activities, degenerate_layouts, layouts, routings
from sma.testing.toys import CausalMean, FixedRouter, InputRouter
from hypothesis import strategies as st
