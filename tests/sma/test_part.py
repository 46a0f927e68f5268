"""Properties of a part, and of a container of parts."""

import pytest
import torch
from torch import nn

from sma import SMA, PackedCompaction, PerElement, Router, SequenceModule, SubModule
from sma.modules import Dense, MultiHeadEMA
from sma.modules.adapters import SequenceSubModule
from sma.testing import CausalMean, InputRouter

D = 4


class Reverse(SequenceModule):
    causal = False

    def forward(self, x, mask=None):
        return x.flip(1)


class ReverseElements(SubModule):
    causal = False
    uses_edges = True

    def forward(self, elements):
        return elements.x.flip(0)


class ByAssignment(SequenceModule):
    def __init__(self, causal):
        super().__init__()
        self.causal = causal
        self.uses_edges = not causal

    def forward(self, x, mask=None):
        return x


class Bidirectional(Router):
    bidirectional = True

    def forward(self, x, mask=None):
        raise AssertionError("not called")


class Around(SequenceModule):
    """A container that says nothing of its own."""

    def __init__(self, part):
        super().__init__()
        self.inner = nn.ModuleDict({"list": nn.ModuleList([nn.Linear(D, D), part])})

    def forward(self, x, mask=None):
        return self.inner["list"][1](x, mask)


LOOKS_AHEAD = {
    "attribute of the class": Reverse,
    "assigned": lambda: ByAssignment(False),
    "bidirectional": lambda: MultiHeadEMA(D, bidirectional=True),
    "in plain modules": lambda: Around(Reverse()),
    "nested": lambda: Around(Around(MultiHeadEMA(D, bidirectional=True))),
    "a recurrent network": lambda: PerElement(nn.LSTM(D, D, bidirectional=True)),
    "behind a router": lambda: SMA(InputRouter(2), [CausalMean(D), ReverseElements()]),
    "the router": lambda: SMA(Bidirectional(1), [CausalMean(D)]),
    "dense": lambda: Dense(ReverseElements()),
    "routed sequence": lambda: SMA(InputRouter(1), [SequenceSubModule(Around(Reverse()))]),
}


@pytest.mark.parametrize("make", LOOKS_AHEAD.values(), ids=LOOKS_AHEAD)
def test_what_holds_a_part_that_looks_ahead_looks_ahead(make):
    assert not make().causal


@pytest.mark.parametrize(
    "make",
    [
        lambda: ByAssignment(True),
        lambda: Around(MultiHeadEMA(D)),
        lambda: PerElement(nn.LSTM(D, D)),
        lambda: SMA(InputRouter(1), [CausalMean(D)]),
    ],
)
def test_without_such_a_part_it_is_causal(make):
    assert make().causal


def test_edges_are_used_where_a_part_inside_uses_them():
    assert SMA(InputRouter(2), [CausalMean(D), ReverseElements()]).uses_edges
    assert ByAssignment(False).uses_edges
    assert not Around(MultiHeadEMA(D)).uses_edges


def test_a_part_without_decoding_says_so():
    elements = PackedCompaction().compress(torch.zeros(1, 2, D), torch.ones(1, 2, dtype=torch.bool))
    with pytest.raises(NotImplementedError, match="ReverseElements does not support step-by-step decoding"):
        ReverseElements().init_state(1)
    with pytest.raises(NotImplementedError, match="ReverseElements does not support step-by-step decoding"):
        ReverseElements().step(elements, None)
