import copy
import pickle
from collections.abc import Callable

import pytest
import torch
from torch import nn

from sma.modules import S4D, MultiHeadEMA
from sma.modules.ssm.diagonal import DiagonalSSM, DiagonalState
from sma.modules.ssm.once import once_per_state

SSMS = pytest.mark.parametrize("make", [lambda: MultiHeadEMA(3, d_state=2), lambda: S4D(3, d_state=4)])


def counted(state: DiagonalState, ssm: nn.Module, calls: list[int]) -> int:
    return once_per_state(state, ssm, lambda: calls.append(1) or len(calls))  # type: ignore[func-returns-value]


def double_in_place(ssm: DiagonalSSM) -> None:
    for parameter in ssm.parameters():
        parameter.mul_(2)


def replace(ssm: DiagonalSSM) -> None:
    for name, parameter in list(ssm.named_parameters()):
        setattr(ssm, name, nn.Parameter(parameter * 2))


def assign_data(ssm: DiagonalSSM) -> None:
    for parameter in ssm.parameters():
        parameter.data = parameter.data * 2


def load(ssm: DiagonalSSM) -> None:
    ssm.load_state_dict({name: tensor * 2 for name, tensor in ssm.state_dict().items()})


@SSMS
@pytest.mark.parametrize("change", [double_in_place, replace, assign_data, load])
@torch.no_grad()
def test_a_step_sees_weights_that_changed(
    make: Callable[[], DiagonalSSM], change: Callable[[DiagonalSSM], None]
) -> None:
    ssm, x = make(), torch.randn(2, 1, 3)
    state = ssm.init_state(2)
    ssm.step(x, state)
    unchanged = ssm.step(x, state.clone())
    change(ssm)
    fresh = ssm.init_state(2)
    fresh.insert(torch.arange(2), state)
    changed = ssm.step(x, state)
    torch.testing.assert_close(changed, ssm.step(x, fresh))
    assert not torch.allclose(changed, unchanged)


@torch.no_grad()
def test_it_is_computed_once_per_state() -> None:
    ssm = MultiHeadEMA(3)
    state, calls = ssm.init_state(2), []
    assert [counted(state, ssm, calls) for _ in range(3)] == [1, 1, 1]
    assert counted(state.select(torch.tensor([1])), ssm, calls) == 2


def test_gradients_have_it_computed_at_every_step() -> None:
    ssm = MultiHeadEMA(3)
    state, calls = ssm.init_state(2), []
    assert [counted(state, ssm, calls) for _ in range(2)] == [1, 2]


@torch.no_grad()
def test_parameters_that_are_computed_have_it_computed_at_every_step() -> None:
    ssm = MultiHeadEMA(3)
    nn.utils.parametrize.register_parametrization(ssm, "delta", nn.Tanh())
    state, calls = ssm.init_state(2), []
    assert [counted(state, ssm, calls) for _ in range(2)] == [1, 2]


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda state: pickle.loads(pickle.dumps(state))]
)
@torch.no_grad()
def test_copies_of_a_state_hold_the_state_alone(copied: Callable[[DiagonalState], DiagonalState]) -> None:
    ssm = MultiHeadEMA(3)
    state = ssm.init_state(2)
    ssm.step(torch.randn(2, 1, 3), state)
    assert len(vars(state)) == 4
    assert sorted(vars(copied(state))) == ["hidden", "oldest", "recent"]


def test_what_inference_mode_computed_serves_outside_of_it() -> None:
    ssm, x = MultiHeadEMA(3), torch.randn(2, 1, 3)
    state = ssm.init_state(2)
    with torch.inference_mode():
        ssm.step(x, state)
    other = state.clone()
    with torch.no_grad():
        want = ssm.step(x, other)
    torch.testing.assert_close(ssm.step(x, state), want)
