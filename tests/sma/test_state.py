from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from sma import NoState, State


@dataclass(frozen=True)
class Leaf(State):
    values: Tensor


@dataclass(frozen=True)
class Tree(State):
    count: Tensor
    leaf: Leaf
    leaves: tuple[State, ...]


def tree(n_rows=3):
    rows = torch.arange(n_rows)
    return Tree(rows.clone(), Leaf(rows[:, None] * 10.0), (NoState(), Leaf(rows * 100.0)))


def flat(state):
    return {name: tensor.tolist() for name, tensor in state.tensors()}


def test_tensors_have_dotted_names_in_a_fixed_order():
    assert [name for name, _ in tree().tensors()] == ["count", "leaf.values", "leaves.1.values"]


@pytest.mark.parametrize("rows", [torch.tensor([2, 0]), torch.tensor([True, False, True])])
def test_select_copies_rows(rows):
    state = tree()
    part = state.select(rows)
    assert sorted(part.count.tolist()) == [0, 2]
    assert torch.equal(part.leaves[1].values, 100.0 * part.count)
    part.count.zero_()
    assert state.count.tolist() == [0, 1, 2]


WRONG_ROWS = {
    "too high": (torch.tensor([0, 3]), r"rows=3, but the state holds 3 rows, 0 to 2"),
    "too low": (torch.tensor([-4]), r"rows=-4, but the state holds 3 rows"),
    "a mask of other rows": (torch.tensor([True]), r"rows is a mask of 1 rows, but the state holds 3"),
    "fractions": (torch.tensor([0.5]), r"rows must be \(n,\) long indices, or a bool mask, got \(1,\) torch"),
    "a single number": (torch.tensor(1), r"rows must be \(n,\) .* got \(\) torch.int64"),
    "a list": ([0], r"rows must be \(n,\) .* got list"),
}


@pytest.mark.parametrize(("rows", "message"), WRONG_ROWS.values(), ids=WRONG_ROWS)
def test_rows_that_there_are_not_are_named(rows, message):
    state = tree()
    with pytest.raises(ValueError, match=message):
        state.select(rows)
    with pytest.raises(ValueError, match=message):
        state.insert(rows, tree(1))
    assert flat(state) == flat(tree())


def test_rows_may_be_counted_from_the_end_and_be_none():
    assert tree().select(torch.tensor([-1])).count.tolist() == [2]
    assert len(tree().select(torch.tensor([], dtype=torch.long)).count) == 0


def test_insert_overwrites_rows_in_place():
    state = tree()
    count = state.count
    state.insert(torch.tensor([2, 0]), tree().select(torch.tensor([0, 1])))
    assert count.tolist() == [1, 1, 0]
    assert flat(state) == {
        "count": [1, 1, 0],
        "leaf.values": [[10.0], [10.0], [0.0]],
        "leaves.1.values": [100.0, 100.0, 0.0],
    }


def test_insert_converts_the_type():
    state = Leaf(torch.zeros(2))
    state.insert(torch.tensor([1]), Leaf(torch.tensor([3])))
    assert state.values.tolist() == [0.0, 3.0]


@pytest.mark.parametrize("other", [Leaf(torch.zeros(1, 3)), Leaf(torch.zeros(2, 2))])
def test_insert_refuses_another_shape(other):
    with pytest.raises(ValueError, match=r"cannot insert state values .* into 1 rows of values \(4, 2\)"):
        Leaf(torch.zeros(4, 2)).insert(torch.tensor([0]), other)


@pytest.mark.parametrize(
    "leaves",
    [
        (NoState(),),
        (NoState(), Leaf(torch.zeros(1, 2))),
        (NoState(), Leaf(torch.zeros(1)), Leaf(torch.zeros(1))),
    ],
)
def test_states_of_another_model_leave_all_as_it_was(leaves):
    state = tree()
    other = Tree(torch.tensor([7]), Leaf(torch.tensor([[7.0]])), leaves)
    with pytest.raises(ValueError, match=r"cannot insert state .* must come from the same model"):
        state.insert(torch.tensor([0]), other)
    with pytest.raises(ValueError, match=r"cannot join state .* must come from the same model"):
        state.join(other)
    assert flat(state) == flat(tree())


def test_join_puts_the_rows_of_another_behind():
    state, other = tree(2), tree().select(torch.tensor([2]))
    joined = state.join(other)
    assert flat(joined) == flat(tree())
    joined.count.zero_()
    assert state.count.tolist() == [0, 1]


def test_join_refuses_another_shape():
    with pytest.raises(ValueError, match=r"cannot join state values \(1, 3\) to values \(4, 2\)"):
        Leaf(torch.zeros(4, 2)).join(Leaf(torch.zeros(1, 3)))


def test_map_makes_a_new_state():
    state = tree()
    doubled = state.map(lambda tensor: tensor * 2)
    assert doubled.count.tolist() == [0, 2, 4]
    assert state.count.tolist() == [0, 1, 2]


def memory(state):
    return {tensor.untyped_storage().data_ptr() for _, tensor in state.tensors()}


EVERY_COPY = {
    "to a device": lambda state: state.to("cpu"),
    "to a dtype": lambda state: state.to(torch.float32),
    "to a tensor": lambda state: state.to(torch.zeros(1)),
    "clone": lambda state: state.clone(),
    "map of the identity": lambda state: state.map(lambda tensor: tensor),
    "map of detach": lambda state: state.map(torch.Tensor.detach),
    "select by a slice": lambda state: state.select(slice(0, 3)),
    "select": lambda state: state.select(torch.arange(3)),
    "join": lambda state: state.join(tree(0)),
}


@pytest.mark.parametrize("copied", EVERY_COPY.values(), ids=EVERY_COPY)
@pytest.mark.parametrize("inference", [False, True])
def test_every_result_owns_its_memory(copied, inference):
    with torch.inference_mode(inference):
        state = tree()
        copy = copied(state)
    assert not memory(state) & memory(copy)
    for _, tensor in state.tensors():
        tensor.zero_()
    assert flat(copy) == flat(tree())
    assert len(memory(copy)) == 3, "no two tensors of a state share memory"


def test_to_converts_devices_and_floating_point():
    state = Tree(torch.arange(2), Leaf(torch.ones(2)), (Leaf(torch.ones(2, dtype=torch.complex64)),))
    half, double = state.to(torch.bfloat16), state.to("meta", torch.float64)
    dtypes = [[tensor.dtype for _, tensor in each.tensors()] for each in (half, double)]
    assert dtypes == [
        [torch.int64, torch.bfloat16, torch.complex64],
        [torch.int64, torch.float64, torch.complex128],
    ]
    assert {tensor.device.type for _, tensor in double.tensors()} == {"meta"}
    assert state.to(dtype=torch.float64, device="cpu").leaf.values.dtype == torch.float64
    with pytest.raises(ValueError, match=r"dtype=torch.int64 cannot hold a decoding state"):
        state.to(torch.int64)


def test_a_state_takes_the_place_of_its_own_rows():
    state = Leaf(torch.tensor([1.0, 2.0]))
    state.insert(torch.tensor([1, 0]), state)
    assert state.values.tolist() == [2.0, 1.0]


def test_a_state_of_inference_mode_is_an_ordinary_one():
    with torch.inference_mode():
        state = tree()
        states = [state, state.select(torch.arange(3)), state.join(tree(0)), state.to("cpu"), state.clone()]
        for each in states:
            each.leaf.values.add_(1)
    for each in states:
        each.count.add_(1)
        each.leaf.values.requires_grad_()
        assert each.leaf.values.flatten().tolist() == [1.0, 11.0, 21.0]


@dataclass(frozen=True)
class Nested(State):
    sums: tuple[tuple[Tensor, ...], ...]


def test_tensors_in_tuples_of_a_state_of_inference_mode_are_ordinary_too():
    with torch.inference_mode():
        state = Nested(((torch.zeros(2, 1),), (torch.zeros(2), torch.zeros(2))))
        states = [state, state.clone(), state.join(state)]
    for each in states:
        for _, tensor in each.tensors():
            tensor.add_(1)


def test_what_is_printed_is_short():
    assert repr(tree()) == "Tree of 3 rows: 3 tensors, 48 bytes on cpu"
    assert repr(Leaf(torch.zeros(1000, 3))) == "Leaf of 1000 rows: 1 tensor, 12,000 bytes on cpu"
    assert repr(NoState()) == "NoState()"


def test_map_refuses_what_is_not_a_state():
    with pytest.raises(TypeError, match="not int"):
        Leaf(3).map(lambda tensor: tensor)


def test_what_a_state_cannot_hold_is_told_wherever_its_tensors_are_read():
    for read in (lambda state: list(state.tensors()), repr, lambda state: state.join(state)):
        with pytest.raises(TypeError, match="a State holds tensors, states and tuples of them, not int"):
            read(Leaf(3))


def test_narrow_shares_memory():
    state = tree()
    part = state.narrow(1, 2)
    assert flat(part) == flat(state.select(torch.tensor([1, 2])))
    part.leaf.values.zero_()
    assert state.leaf.values.flatten().tolist() == [0, 0, 0]
    assert state.narrow(3, 0).count.tolist() == []


@pytest.mark.parametrize(("start", "length"), [(2, 2), (-1, 2), (0, -1)])
def test_narrow_names_rows_that_there_are_not(start, length):
    with pytest.raises(ValueError, match=rf"start={start} and length={length} .* the state holds 3 rows"):
        tree().narrow(start, length)
