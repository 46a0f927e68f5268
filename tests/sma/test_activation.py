"""The layer beyond its parts; tests/properties tests what holds for any parts."""

import pytest
import torch
from torch import nn

from sma import (
    SMA,
    CapacityCompaction,
    PackedCompaction,
    PaddedCompaction,
    PerElement,
    Pointwise,
    Router,
    Routing,
    SparseModularActivation,
    SubModule,
    record,
)
from sma.modules import Dense, ExpertBank, MixtureOfExperts
from sma.testing import CausalMean, FixedRouter, InputRouter, oracle

D = 4


def test_the_sum_of_activated_sub_modules_weighted_by_confidence():
    active = torch.tensor([[[True, True], [False, True], [False, False]]])
    confidence = torch.tensor([[[0.5, 0.25], [9.0, 1.0], [9.0, 9.0]]])
    first, second = nn.Linear(D, D), nn.Linear(D, D)
    layer = SMA(FixedRouter(Routing(active, confidence)), [Pointwise(first), Pointwise(second)])
    x = torch.randn(1, 3, D)
    expected = torch.stack([0.5 * first(x[0, 0]) + 0.25 * second(x[0, 0]), second(x[0, 1]), torch.zeros(D)])
    torch.testing.assert_close(layer(x)[0], expected)


def test_packed_compaction_is_the_default():
    assert isinstance(SMA(InputRouter(1), [CausalMean(D)]).compaction, PackedCompaction)


def test_the_short_name():
    assert SMA is SparseModularActivation


def test_the_router_must_decide_for_every_sub_module():
    with pytest.raises(ValueError, match="n_modules=2, but there are 1 sub-modules; make them equal"):
        SMA(InputRouter(2), [CausalMean(D)])


def test_causal_if_every_part_is():
    assert SMA(InputRouter(1), [CausalMean(D)]).causal
    ahead = CausalMean(D)
    ahead.causal = False
    assert not SMA(InputRouter(2), [CausalMean(D), ahead]).causal
    router = InputRouter(1)
    router.causal = False
    assert not SMA(router, [CausalMean(D)]).causal


def test_one_sub_module_may_stand_behind_several_decisions():
    module = CausalMean(D)
    layer, x = SMA(InputRouter(2), [module, module]), torch.randn(2, 5, D)
    torch.testing.assert_close(layer(x), oracle(x, layer.router(x), [module, module]))


def test_confidence_that_is_nan_for_a_skipped_element_reaches_no_gradient():
    """A padding slot reads the confidence of the batch's first element, which may be anything."""
    active = torch.tensor([[[False], [True]], [[True], [True]]])
    confidence = torch.where(active, 0.5, float("nan"))
    layer = SMA(FixedRouter(Routing(active, confidence)), [CausalMean(D)], compaction=PaddedCompaction())
    layer(torch.randn(2, 2, D)).sum().backward()
    assert layer.sub_modules[0].linear.weight.grad.isfinite().all()


class Careless(Router):
    """Activates padding as well."""

    def forward(self, x, mask=None):
        everywhere = torch.ones(*x.shape[:2], self.n_modules)
        return Routing(everywhere.bool(), everywhere)


@pytest.mark.parametrize("compaction", [PackedCompaction(), CapacityCompaction(2)])
def test_padding_is_inactive_whatever_a_router_returns(compaction):
    """Left padding would otherwise take the slots of a row, and be seen by its elements."""
    layer = SMA(Careless(1), [CausalMean(D)], compaction=compaction)
    x, mask = torch.randn(2, 5, D), torch.tensor([[False, False, True, True, True], [True] * 5])
    with record(layer) as recording:
        y = layer(x, mask)
        torch.testing.assert_close(y[:1, 2:], layer(x[:1, 2:]))
        state = layer.init_state(2)
        steps = [layer.step(x[:, i : i + 1], state, mask[:, i : i + 1]) for i in range(5)]
    assert not y[0, :2].any()
    assert not recording.layers[0].routing.active[0, :2].any()
    torch.testing.assert_close(torch.cat(steps, 1), y)


class ReadsPosition(Pointwise):
    def __init__(self):
        super().__init__(nn.Identity())

    def forward(self, elements):
        return elements.position[:, None].to(elements.x).expand_as(elements.x)


def test_positions_count_a_rows_real_elements():
    layer = SMA(InputRouter(1), [ReadsPosition()])
    x = torch.ones(1, 5, D)
    mask = torch.tensor([[False, False, True, True, True]])
    assert (layer(x, mask) / layer.router(x).confidence)[0, :, 0].tolist() == [0, 0, 0, 1, 2]


def test_a_step_continues_the_positions_of_each_row():
    seen = []

    class Watch(CausalMean):
        def step(self, elements, state):
            seen.append(elements.position.tolist())
            return super().step(elements, state)

    layer = SMA(InputRouter(1), [Watch(D)])
    state = layer.init_state(2)
    mask = torch.tensor([[True, True], [False, True]])
    with torch.no_grad():
        layer.step(torch.ones(2, 2, D), state, mask)
        layer.step(torch.ones(2, 1, D), state)
    assert seen == [[0, 1, 0], [2, 1]]
    assert state.position.tolist() == [3, 2]


def test_the_result_has_the_inputs_type_under_autocast():
    layer = SMA(InputRouter(1), [CausalMean(D)])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer(torch.randn(1, 3, D)).dtype == torch.float32


def test_state_dict_names():
    assert list(SMA(InputRouter(1), [CausalMean(D)]).state_dict()) == ["sub_modules.0.linear.weight"]


def test_what_is_no_sub_module_is_refused():
    with pytest.raises(TypeError, match=r"Linear is not a sma\.SubModule; .* sma\.Pointwise"):
        SMA(InputRouter(1), [torch.nn.Linear(4, 4)])


class Tuples(Router):
    def forward(self, x, mask=None):
        return x[..., :1] > 0, x[..., :1].sigmoid()


class TooFew(Router):
    def forward(self, x, mask=None):
        return Routing(x[:, 1:, :1] > 0, x[:, 1:, :1].sigmoid())


class Pairs(SubModule):
    def forward(self, elements):
        return elements.x, elements.x


class Mean(SubModule):
    def forward(self, elements):
        return elements.x.mean(0, keepdim=True)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: SMA(InputRouter(1), CausalMean(D)),
            TypeError,
            "sub_modules must be a list .*CausalMean; put",
        ),
        (
            lambda: SMA(InputRouter(1), nn.Linear(D, D)),
            TypeError,
            "sub_modules must be a list .* Linear; put",
        ),
        (lambda: SMA(nn.Linear(D, D), [CausalMean(D)]), TypeError, r"Linear is not a sma\.Router; derive"),
        (lambda: SMA(Tuples(1), [CausalMean(D)]), TypeError, "router Tuples returns tuple, .*Routing"),
        (lambda: SMA(TooFew(1), [CausalMean(D)]), ValueError, r"active \(2, 4, 1\), .* \(2, 5, 1\)"),
        (
            lambda: SMA(FixedRouter(Routing(torch.ones(2, 5, 1).bool(), torch.ones(2, 5, 1))), [Pairs()]),
            ValueError,
            r"sub_modules\.0 \(Pairs\) must return \(T, D\) = \(10, 4\), .* got tuple",
        ),
        (lambda: SMA(InputRouter(1), [Mean()]), ValueError, r"sub_modules\.0 \(Mean\) .* got \(1, 4\)"),
        (
            lambda: SMA(InputRouter(2), [CausalMean(D), Pointwise(nn.Linear(D, 3))]),
            ValueError,
            r"sub_modules\.1 \(Pointwise\) must return .*4\), one result per slot, got .*3\)",
        ),
        (
            lambda: SMA(InputRouter(1), [Pointwise(nn.Sequential(nn.Linear(3, D)))]),
            ValueError,
            r"x must be \(T, 3\) floating point, got .*4\).*; build with d_model=4",
        ),
        (lambda: Dense(Pointwise(nn.Linear(D, 3))), ValueError, r"module \(Pointwise\) must return"),
        (lambda: PerElement(nn.Linear(3, D)), ValueError, r"x must be \(B, L, 3\) .* d_model=4"),
        (
            lambda: MixtureOfExperts(Tuples(1), ExpertBank(D, n_experts=1, d_hidden=2)),
            TypeError,
            "router Tuples returns tuple",
        ),
        (
            lambda: MixtureOfExperts(InputRouter(1), ExpertBank(3, n_experts=1, d_hidden=2)),
            ValueError,
            r"x must be \(T, 3\)",
        ),
    ],
)
def test_parts_that_do_not_fit_are_named(make, error, message):
    with pytest.raises(error, match=message):
        make()(torch.rand(2, 5, D) + 0.1)
