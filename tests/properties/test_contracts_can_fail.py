"""Every test of every contract suite fails for some broken part: here is one for each."""

from dataclasses import dataclass, replace
from typing import Any, Literal

import pytest
import torch
from hypothesis import Phase, settings
from pydantic import ConfigDict, Field, model_validator
from torch import nn

from sma import (
    SMA,
    CapacityCompaction,
    NoState,
    PackedCompaction,
    PerElement,
    Pointwise,
    Router,
    Routing,
    SequenceModule,
    Spec,
    State,
    SubModule,
    register,
)
from sma.sequence import zero_padding
from sma.testing import (
    CausalMean,
    CompactionContract,
    InputRouter,
    RouterContract,
    SequenceModuleContract,
    SpecContract,
    SubModuleContract,
    router_contract,
)

D = 8
CASES: list[Any] = []


def breaks(contract, *tests, **attributes):
    """Class decorator: `tests` of `contract` must fail for this class, made without arguments."""

    def add(broken):
        body = {"make": lambda self: broken(), **attributes}
        suite = type(f"{broken.__name__}Suite", (contract,), body)
        CASES.extend(pytest.param(suite, test, id=f"{broken.__name__}-{test}") for test in tests)
        return broken

    return add


@pytest.fixture(autouse=True)
def _without_shrinking():
    """A failure is expected, so don't look for the smallest one."""
    settings.register_profile(
        "can_fail", max_examples=60, deadline=None, derandomize=True, phases=[Phase.generate]
    )
    before = settings.get_current_profile_name()
    settings.load_profile("can_fail")
    yield
    settings.load_profile(before)


# ------------------------------------------------------------------------------------------ sub-modules


class Linear(Pointwise):
    def __init__(self):
        super().__init__(nn.Linear(D, D))


@breaks(SubModuleContract, "test_rows_are_independent", "test_agrees_with_the_oracle")
class MixesRows(Linear):
    def forward(self, elements):
        mean = elements.x.sum(0) / elements.valid.sum().clamp(min=1)
        return super().forward(elements) + mean


@breaks(SubModuleContract, "test_padding_slots", "test_agrees_with_the_oracle")
class AveragesPaddingSlots(Linear):
    def forward(self, elements):
        owner = torch.repeat_interleave(elements.ptr.diff())
        total = torch.zeros(elements.n_rows, D, dtype=elements.x.dtype).index_add(0, owner, elements.x)
        slots = elements.ptr.diff().clamp(min=1)[:, None]
        return super().forward(elements) + (total / slots)[owner]


@breaks(SubModuleContract, "test_padding_slots")
class DividesByZeroInPaddingSlots(Linear):
    def forward(self, elements):
        return super().forward(elements.with_x(elements.x / elements.x.norm(dim=1, keepdim=True)))


@breaks(SubModuleContract, "test_nothing_active", "test_nothing_real", "test_degenerate_shapes")
class ReturnsEarlyWithoutElements(Linear):
    def forward(self, elements):
        return super().forward(elements) if bool(elements.valid.any()) else torch.zeros_like(elements.x)


@breaks(SubModuleContract, "test_skipped_elements")
class NaNGradient(Linear):
    def forward(self, elements):
        (y,) = [super().forward(elements)]
        return torch.where(y > 1e9, (y - y).sqrt(), y)


@breaks(SubModuleContract, "test_flops")
class CountsBackwards(Linear):
    def flops(self, n):
        return -n


@breaks(SubModuleContract, "test_steps")
class AdvancesIdleRows(CausalMean):
    def __init__(self):
        super().__init__(D)

    def step(self, elements, state):
        y = super().step(elements, state)
        state.count.add_(1)
        return y


@breaks(SubModuleContract, "test_steps")
class ForgetsItsState(AdvancesIdleRows):
    def step(self, elements, state):
        return self(elements)


@breaks(SubModuleContract, "test_causality")
class PeeksAtTheFuture(AdvancesIdleRows):
    @staticmethod
    def _seen(elements):
        return ((elements.row[:, None] == elements.row) & elements.valid).to(elements.x)


@breaks(SubModuleContract, "test_steps")
class ReadsPlacesNotPositions(Linear):
    def forward(self, elements):
        return super().forward(elements) + elements.index[:, None]


@breaks(SubModuleContract, "test_autocast")
class OverflowsInHalfPrecision(Linear):
    def forward(self, elements):
        y = super().forward(elements)
        return (1e6 * y.half()).to(y) / 1e6 if y.dtype == torch.bfloat16 else y


# ------------------------------------------------------------------------------------------- sequences


class OfSequences(SequenceModule):
    """A linear map, for variations."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(D, D)

    def forward(self, x, mask=None):
        return zero_padding(self.linear(zero_padding(x, mask)), mask)

    def init_state(self, batch_size, *, device=None, dtype=None):
        return NoState()

    def step(self, x, state, mask=None):
        return self(x, mask)


@breaks(SequenceModuleContract, "test_shape")
class ReturnsSinglePrecision(OfSequences):
    def forward(self, x, mask=None):
        return super().forward(x, mask).float()


@breaks(SequenceModuleContract, "test_padding_is_zero")
class LeavesPadding(OfSequences):
    def forward(self, x, mask=None):
        return self.linear(x)


@breaks(SequenceModuleContract, "test_rows_are_independent", padding=float("nan"))
class MultipliesByTheMask(OfSequences):
    def forward(self, x, mask=None):
        x = x if mask is None else x * mask[..., None]
        return self.linear(x) + x.cumsum(1)


@breaks(SequenceModuleContract, "test_rows_are_independent", "test_causality")
class DividesByTheWidthOfTheBatch(OfSequences):
    def forward(self, x, mask=None):
        return super().forward(x, mask) / max(x.shape[1], 1)


@breaks(SequenceModuleContract, "test_packed_rows")
class SumsAcrossPackedRows(OfSequences):
    def forward(self, x, mask=None, rows=None):
        return zero_padding(super().forward(x, mask).cumsum(1), mask)


@breaks(SequenceModuleContract, "test_padding_gets_no_gradient", junk=float("nan"))
class SpreadsNaNBackward(OfSequences):
    def forward(self, x, mask=None):
        return self.linear(x)


@breaks(SequenceModuleContract, "test_degenerate_shapes")
class NeedsAnElement(OfSequences):
    def forward(self, x, mask=None):
        return super().forward(x, mask) + x[:, :1].amax(1, keepdim=True).nan_to_num()


@breaks(SequenceModuleContract, "test_nothing_real")
class ReturnsEarlyWithoutRealElements(OfSequences):
    def forward(self, x, mask=None):
        return super().forward(x, mask) if mask is None or bool(mask.any()) else torch.zeros_like(x)


@breaks(SequenceModuleContract, "test_causality", "test_steps")
class ConvolvesBothWays(OfSequences):
    def forward(self, x, mask=None):
        y = super().forward(x, mask)
        return y + nn.functional.pad(y, (0, 0, 0, 1))[:, 1:]


@breaks(SequenceModuleContract, "test_a_language_model_refuses_what_looks_ahead")
class SaysThatItsPartsAreCausal(OfSequences):
    causal = True

    def __init__(self):
        super().__init__()
        self.part = ConvolvesBothWays()
        self.part.causal = False


@dataclass(frozen=True)
class LastState(State):
    last: torch.Tensor


class AddsTheLastElement(OfSequences):
    """Correct: h_t + h_{t - 1}, with the last element as state."""

    def forward(self, x, mask=None):
        return self.step(x, self.init_state(len(x), dtype=x.dtype), mask)

    def init_state(self, batch_size, *, device=None, dtype=None):
        return LastState(torch.zeros(batch_size, D, dtype=dtype))

    def step(self, x, state, mask=None):
        y, last = torch.zeros_like(x), state.last.clone()
        mask = torch.ones(x.shape[:2], dtype=torch.bool) if mask is None else mask
        rows = []
        for t in range(x.shape[1]):
            here = torch.where(mask[:, t, None], x[:, t], 0)
            rows.append(torch.where(mask[:, t, None], self.linear(here) + last, 0))
            last = self.advance(last, here, mask[:, t, None])
        with torch.no_grad():
            state.last.copy_(last)
        return torch.stack(rows, 1) if rows else y + 0 * self.linear(y)

    def advance(self, last, here, real):
        return torch.where(real, here, last)


class TestAddsTheLastElement(SequenceModuleContract):
    """The module that the next ones break passes."""

    def make(self):
        return AddsTheLastElement()


@breaks(SequenceModuleContract, "test_steps")
class PaddingAdvancesTheState(AddsTheLastElement):
    def advance(self, last, here, real):
        return here


@breaks(SequenceModuleContract, "test_gradients_of_steps")
class LosesGradientsInSteps(AddsTheLastElement):
    def forward(self, x, mask=None):
        return super().step(x, self.init_state(len(x), dtype=x.dtype), mask)

    def step(self, x, state, mask=None):
        return super().step(x.detach(), state, mask)


@breaks(SequenceModuleContract, "test_state_rows_move", "test_kept_states")
class KeepsItsStateToItself(AddsTheLastElement):
    def init_state(self, batch_size, *, device=None, dtype=None):
        self.state = super().init_state(batch_size, dtype=dtype)
        return NoState()

    def forward(self, x, mask=None):
        return super().step(x, super().init_state(len(x), dtype=x.dtype), mask)

    def step(self, x, state, mask=None):
        return super().step(x, self.state, mask)


@breaks(SequenceModuleContract, "test_steps", "test_state_rows_move")
class PutsTheBatchLast(AddsTheLastElement):
    def init_state(self, batch_size, *, device=None, dtype=None):
        return LastState(torch.zeros(D + 7, batch_size, dtype=dtype))

    def step(self, x, state, mask=None):
        return super().step(x, LastState(state.last[:D].T), mask)


@breaks(SequenceModuleContract, "test_checkpointing")
class IsDifferentEveryTime(OfSequences):
    calls = 0

    def forward(self, x, mask=None):
        self.calls += 1
        return super().forward(x, mask) * self.calls


@breaks(SequenceModuleContract, "test_gradcheck")
class CutsTheGraph(OfSequences):
    def forward(self, x, mask=None):
        y = super().forward(x, mask)
        return y * y.detach()


@breaks(SequenceModuleContract, "test_dtypes")
class RoundsSinglePrecision(OfSequences):
    def forward(self, x, mask=None):
        y = super().forward(x, mask)
        return y.half().float() if y.dtype == torch.float32 else y


@breaks(SequenceModuleContract, "test_steps", supports_decoding=False)
class SupportsDecodingAfterAll(OfSequences):
    pass


# --------------------------------------------------------------------------------------------- routers


class OfRouters(Router):
    """A sigmoid per sub-module, for variations."""

    def __init__(self):
        super().__init__(2)
        self.linear = nn.Linear(D, 2)

    def forward(self, x, mask=None):
        logits = self.linear(x)
        active = logits > 0 if mask is None else (logits > 0) & mask[..., None]
        return Routing(active, logits.sigmoid(), self.losses(logits, mask))

    def losses(self, logits, mask):
        return {}


class TestOfRouters(RouterContract):
    """The router that the next ones break passes."""

    def make(self):
        return OfRouters()


@breaks(RouterContract, "test_values")
class IgnoresTheMask(OfRouters):
    def forward(self, x, mask=None):
        return super().forward(x.nan_to_num(1.0))


@breaks(RouterContract, "test_values")
class ActivatesMoreThanItSays(OfRouters):
    max_rate = 0.1


@breaks(RouterContract, "test_values")
class IsMoreThanConfident(OfRouters):
    def forward(self, x, mask=None):
        routing = super().forward(x, mask)
        return replace(routing, confidence=2 * routing.confidence)


@breaks(RouterContract, "test_values")
class LosesNothingDividedByNothing(OfRouters):
    def losses(self, logits, mask):
        return {"budget": logits[logits > 0].mean()}


@breaks(RouterContract, "test_losses_ignore_padding")
class LosesOnPadding(OfRouters):
    def losses(self, logits, mask):
        return {"z": logits.square().mean() if logits.numel() else logits.sum()}


@breaks(RouterContract, "test_rows_are_independent")
class ComparesRows(OfRouters):
    def forward(self, x, mask=None):
        return super().forward(x - x.nan_to_num().mean((0, 1)), mask)


@breaks(RouterContract, "test_causality", "test_steps")
class ComparesWithTheFuture(OfRouters):
    def forward(self, x, mask=None):
        return super().forward(x - x.nan_to_num().sum(1, keepdim=True), mask)


@breaks(RouterContract, "test_degenerate_shapes", "test_nothing_real")
class LearnsNothing(OfRouters):
    def forward(self, x, mask=None):
        routing = super().forward(x, mask)
        return replace(routing, confidence=routing.confidence.detach())


@breaks(RouterContract, "test_coverage")
class TakesAllOrNothing(OfRouters):
    def forward(self, x, mask=None):
        routing = super().forward(x, mask)
        return replace(routing, active=routing.active.all(-1, keepdim=True).expand_as(routing.active))


@breaks(RouterContract, "test_coverage", reachable=lambda self, n: {(False, False)})
class DoesMoreThanItSays(OfRouters):
    pass


class LeaksGradient(SMA):
    """A layer whose result also depends on the confidence of inactive elements."""

    def forward(self, x, mask=None):
        return super().forward(x, mask) + 0.1 * self.router(x, mask).confidence.sum(-1, keepdim=True)


def test_gradient_through_confidence_can_fail(monkeypatch):
    monkeypatch.setattr(router_contract, "SparseModularActivation", LeaksGradient)
    with pytest.raises(AssertionError):
        TestOfRouters().test_gradient_through_confidence()


# ----------------------------------------------------------------------------------------- compactions


@breaks(CompactionContract, "test_elements", "test_round_trip", "test_agrees_with_the_oracle")
class DropsAnElement(PackedCompaction):
    def compress(self, x, active):
        return super().compress(x, active & (active.cumsum(1) < 3))


@breaks(CompactionContract, "test_elements", "test_rows_are_independent")
class ReversesRows(PackedCompaction):
    def compress(self, x, active):
        e = super().compress(x, active)
        return replace(e, x=e.x.flip(0), row=e.row.flip(0), position=e.position.flip(0))


@breaks(CompactionContract, "test_round_trip")
class ReadsSkippedElements(PackedCompaction):
    def compress(self, x, active):
        e = super().compress(x, active)
        return e.with_x(e.x + 0 * x.sum())


@breaks(CompactionContract, "test_extract_drops_padding_slots")
class ExtractsPaddingSlots(CapacityCompaction):
    def __init__(self):
        super().__init__(12)

    def extract(self, y, elements, shape):
        out = y.new_zeros(shape[0] * shape[1], shape[2])
        return out.index_add(0, elements.index, y * elements.valid[:, None]).view(shape)


@breaks(CompactionContract, "test_gradcheck_alone")
class DetachesElements(PackedCompaction):
    def compress(self, x, active):
        e = super().compress(x, active)
        return e.with_x(e.x + e.x.detach())


# ----------------------------------------------------------------------------------------------- specs


class BrokenSpec(Spec):
    def build(self, d_model):
        return PerElement(nn.Linear(d_model, d_model))


@register
class Forgetful(BrokenSpec):
    kind: Literal["forgetful"] = "forgetful"
    width: int = Field(default=1, exclude=True)


@breaks(SpecContract, "test_json_round_trip")
def forgetful():
    return Forgetful(width=2)


@breaks(SpecContract, "test_refuses_unknown_fields")
class Lenient(BrokenSpec):
    kind: Literal["lenient"] = "lenient"
    model_config = ConfigDict(extra="allow")

    @model_validator(mode="before")
    @classmethod
    def _known_fields(cls, values):
        return values


@breaks(SpecContract, "test_is_frozen")
class Mutable(BrokenSpec):
    kind: Literal["mutable"] = "mutable"
    model_config = ConfigDict(frozen=False)


@breaks(SpecContract, "test_is_frozen")
class HoldsAList(BrokenSpec):
    kind: Literal["holds_a_list"] = "holds_a_list"
    widths: list[int] = Field(default_factory=list)


class WithHiddenWeights(SequenceModule):
    def __init__(self):
        super().__init__()
        self.weight = torch.randn(D)

    def forward(self, x, mask=None):
        return x * self.weight


@breaks(SpecContract, "test_build_is_repeatable")
class BuildsHiddenWeights(BrokenSpec):
    kind: Literal["hidden_weights"] = "hidden_weights"

    def build(self, d_model):
        return WithHiddenWeights()


# ----------------------------------------------------------------------------------------------- tests


@pytest.mark.parametrize(("suite", "test"), CASES)
def test_the_suite_notices(suite, test):
    method = getattr(suite(), test)
    arguments = {"dtype": torch.float32} if test == "test_dtypes" else {}
    with pytest.raises((AssertionError, RuntimeError, IndexError, pytest.fail.Exception)) as caught:
        method(**arguments)
    assert not isinstance(caught.value, NotImplementedError), "the suite itself is incomplete"


def test_every_test_of_every_suite_has_a_case():
    suites = (RouterContract, SubModuleContract, CompactionContract, SequenceModuleContract, SpecContract)
    tests = {getattr(s, name).__qualname__ for s in suites for name in dir(s) if name.startswith("test_")}
    shown = {getattr(*case.values).__qualname__ for case in CASES}
    assert tests - shown == {"RouterContract.test_gradient_through_confidence"}  # has a test of its own


def test_the_unbroken_parts_pass():
    assert isinstance(Linear(), SubModule)
    for test in ("test_padding_slots", "test_steps", "test_flops"):
        suite = type("LinearSuite", (SubModuleContract,), {"make": lambda self: Linear()})
        getattr(suite(), test)()
    assert InputRouter(1).causal
