import pytest
import torch
from torch import nn

import sma
from sma import SMA, Edges
from sma.modules import (
    GAU,
    AlwaysActive,
    Dense,
    FeedForward,
    GatedFeedForward,
    MultiHeadAttention,
    SSMSubModule,
)
from sma.modules.ssm.s4d import S4D
from sma.testing import SequenceModuleContract


class TestAttention(SequenceModuleContract):
    def make(self):
        return Dense(MultiHeadAttention(self.d_model, n_heads=2, window=3, dropout=0.1))


class TestBidirectional(SequenceModuleContract):
    def make(self):
        return Dense(GAU(self.d_model, d_qk=4, window=2, bidirectional=True))


class TestSSM(SequenceModuleContract):
    def make(self):
        return Dense(SSMSubModule(S4D(self.d_model, d_state=2)))


@pytest.mark.parametrize(
    "mask", [None, torch.arange(9) > torch.tensor([[2], [-1], [8]]), torch.rand(3, 9) < 0.5]
)
def test_is_sma_whose_router_says_yes(mask):
    module = GAU(8, d_qk=4, window=3).double()
    x = torch.randn(3, 9, 8, dtype=torch.float64)
    torch.testing.assert_close(Dense(module)(x, mask), SMA(AlwaysActive(1), [module])(x, mask))


def test_edges_join_real_nodes():
    class Sum(sma.SubModule):
        uses_edges = True

        def forward(self, elements):
            start, end = elements.edges.index
            return torch.zeros_like(elements.x).index_add(0, end, elements.x[start])

    x = torch.tensor([[1.0, 2.0, 4.0], [8.0, 16.0, 0.0]])[..., None]
    mask = torch.tensor([[True] * 3, [True, True, False]])
    edges = Edges(torch.tensor([[0, 1, 2, 3, 5], [1, 2, 1, 4, 3]]))
    expected = torch.tensor([[0.0, 5.0, 2.0], [0.0, 8.0, 0.0]])[..., None]
    assert torch.equal(Dense(Sum())(x, mask, edges), expected)
    assert torch.equal(Dense(Sum())(x, None, edges), expected)


def test_is_not_recorded_and_counts_its_sub_module():
    module = FeedForward(4, d_hidden=8)
    layer = Dense(module)
    with sma.record(layer) as recording:
        layer(torch.randn(1, 5, 4))
    assert recording.layers == []
    assert layer.flops(7) == module.flops(7) > 0
    assert layer.causal
    assert not Dense(GAU(4, d_qk=4, window=2, bidirectional=True)).causal


def test_what_is_no_sub_module_is_refused():
    with pytest.raises(TypeError, match=r"Linear is not a sma\.SubModule; .*sma\.Pointwise"):
        Dense(nn.Linear(4, 4))


@pytest.mark.parametrize(
    "module", [FeedForward(4, d_hidden=8), GatedFeedForward(4, d_hidden=8), sma.Pointwise(nn.Linear(4, 4))]
)
def test_element_wise_sub_modules_are_run_where_elements_stand(module, monkeypatch):
    """Without a gather, whose size depends on the mask, and equal to one."""
    layer, x = Dense(module), torch.randn(2, 5, 4)
    mask = torch.tensor([[True, False, True, True, False], [False] * 5])
    x[~mask] = torch.nan
    want = SMA(AlwaysActive(1), [module])(x, mask)
    monkeypatch.delattr(sma.PackedCompaction, "compress")
    torch.testing.assert_close(layer(x, mask), want)
    torch.testing.assert_close(layer.step(x, layer.init_state(2), mask), want)
