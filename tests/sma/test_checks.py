import re
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sma import NoState, State
from sma.checks import check_dtype, check_features, check_rates, check_size, check_sizes, near
from sma.state import check_parts, check_state


@dataclass(frozen=True)
class Sums(State):
    total: Tensor


@pytest.mark.parametrize("size", ["16", 1.5, True, None])
def test_what_is_no_integer_is_a_type_error(size):
    with pytest.raises(TypeError, match=re.escape(f"d_qk={size!r} must be an integer of at least 1")):
        check_sizes(d_model=8, d_qk=size)


def test_a_small_size_is_a_value_error_that_says_what_none_is_for():
    with pytest.raises(ValueError, match="window=0 must be an integer of at least 1, or None for no limit"):
        check_size("window", 0, none="no limit")
    with pytest.raises(ValueError, match="n_buckets=3 must be an integer of at least 4"):
        check_size("n_buckets", 3, least=4)


def test_right_sizes_pass():
    check_sizes(d_model=1, d_qk=np.int64(8))
    check_size("window", None, none="no limit")


@pytest.mark.parametrize(("rate", "error"), [(1.0, ValueError), (-0.1, ValueError), ("0.1", TypeError)])
def test_a_rate_is_below_one(rate, error):
    with pytest.raises(error, match=re.escape(f"dropout={rate!r} must be a number in [0, 1)")):
        check_rates(dropout=rate)
    check_rates(dropout=0)


@pytest.mark.parametrize(
    ("x", "n_dims", "message"),
    [
        (torch.zeros(5, 8), 3, "(B, L, 8) floating point, got (5, 8) torch.float32"),
        (
            torch.zeros(2, 5, 7),
            3,
            "(B, L, 8) floating point, got (2, 5, 7) torch.float32; build with d_",
        ),
        (torch.zeros(2, 8).long(), 2, "(T, 8) floating point, got (2, 8) torch.int64; embed tokens first"),
        ([1.0], 2, "(T, 8) floating point, got list"),
    ],
)
def test_features(x, n_dims, message):
    with pytest.raises(ValueError, match=re.escape(f"x must be {message}")):
        check_features(x, n_dims, 8)


def test_a_state_is_of_its_kind_and_of_as_many_rows():
    state = Sums(torch.zeros(2))
    assert check_state(state, Sums, 2) is state
    assert check_state(NoState(), NoState, 3) == NoState()
    assert check_state(Sums(torch.zeros(2, 3)), Sums, 2, total=(3,)).total.shape == (2, 3)
    with pytest.raises(TypeError, match="state must be the Sums that init_state returns, got NoneType"):
        check_state(None, Sums, 2)
    with pytest.raises(ValueError, match="state holds 2 rows, but there are 3 in the input"):
        check_state(state, Sums, 3)
    with pytest.raises(ValueError, match="state must be the Sums that init_state returns, got NoState"):
        check_state(NoState(), Sums, 2)
    with pytest.raises(
        ValueError, match=r"another model: Sums.total is \(B, 3\), and \(B, 4\) is needed here"
    ):
        check_state(Sums(torch.zeros(2, 3)), Sums, 2, total=(4,))


def test_the_number_of_states_is_checked():
    check_parts(NoState(), (), 0)
    with pytest.raises(
        ValueError, match=r"another model: NoState holds 1 states, and there are 2 parts here"
    ):
        check_parts(NoState(), (NoState(),), 2)


class KeptInFloat32(nn.Linear):
    def _apply(self, fn, recurse=True):
        return self


@pytest.mark.parametrize(
    ("module", "dtype", "wanted"),
    [
        (nn.Linear(2, 2), torch.float64, "float32"),
        (nn.Linear(2, 2).half(), torch.float32, "float16"),
        (nn.Sequential(KeptInFloat32(2, 2), nn.Linear(2, 2)).bfloat16(), torch.float32, "bfloat16"),
    ],
)
def test_a_precision_that_no_parameter_has_is_named(module, dtype, wanted):
    given = str(dtype).removeprefix("torch.")
    message = f"x is {given}, but {type(module).__name__} computes in {wanted}; give it x.to(torch.{wanted})"
    with pytest.raises(ValueError, match=re.escape(message)):
        check_dtype(torch.zeros(1, 2, dtype=dtype), module)
    with torch.autocast("cpu"):
        check_dtype(torch.zeros(1, 2, dtype=dtype), module)


@pytest.mark.parametrize(
    "module", [nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 2).half(), nn.Linear(2, 2)), nn.Tanh()]
)
def test_a_precision_that_some_parameter_has_passes(module):
    check_dtype(torch.zeros(1, 2), module)


def test_parameters_that_are_more_than_tensors_are_left_to_the_module():
    class Packed(torch.Tensor):
        pass

    module = nn.Linear(2, 2, bias=False)
    module.weight = nn.Parameter(torch.zeros(2, 2).as_subclass(Packed))
    check_dtype(torch.zeros(1, 2, dtype=torch.float64), module)


@pytest.mark.parametrize(
    ("known", "hint"),
    [
        (["blocks", "head"], "; did you mean blocks?"),
        (["head", "norm"], "; there are: head, norm"),
        ([], "; there are none"),
    ],
)
def test_a_name_that_does_not_exist_gets_a_hint(known, hint):
    assert near("block", known) == hint
