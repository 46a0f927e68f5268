"""Decoding state: what a model remembers between steps, as batch-first tensors."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from itertools import zip_longest
from typing import Any, TypeVar

import torch
import typing_extensions
from torch import Tensor

S = TypeVar("S", bound="State")
StateT = typing_extensions.TypeVar("StateT", bound="State", default=Any)
"""The decoding state of a part: `Router[MyState]`; a bare `Router` stands for any."""


@dataclass(frozen=True)
class State:
    """Base of all decoding states: a dataclass of tensors, nested states and tuples of states.

    Every tensor has the batch as its first dimension, so rows can leave a running batch (`select`), take the
    places of others (`insert`) and be added to it (`join`). A step updates the tensors in place.

    Example:
        >>> @dataclass(frozen=True)
        ... class Sums(State):
        ...     total: Tensor
        >>> state = Sums(torch.tensor([1.0, 2.0, 3.0]))
        >>> state.insert(torch.tensor([0]), state.select(torch.tensor([2])))
        >>> state.total
        tensor([3., 2., 3.])
    """

    def map(self: S, function: Callable[[Tensor], Tensor]) -> S:
        """A new state with `function` applied to every tensor."""
        return type(self)(**{f.name: _map(getattr(self, f.name), function) for f in fields(self)})

    def tensors(self, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
        """All tensors with their dotted names, in a fixed order."""
        for f in fields(self):
            yield from _tensors(getattr(self, f.name), f"{prefix}{f.name}")

    def select(self: S, rows: Tensor) -> S:
        """A copy that holds only `rows` (long indices or a bool mask over the batch), in that order."""
        return self.map(lambda tensor: tensor[rows])

    def insert(self: S, rows: Tensor, other: S) -> None:
        """Overwrite `rows` (long indices) with the rows of `other`, in place.

        Raises:
            ValueError: if `other` was made by a differently shaped model or holds another number of rows.
        """
        pairs = _pairs(self, other)
        for (name, mine), (other_name, theirs) in pairs:  # all of them, before any is written
            if name != other_name or mine.shape[1:] != theirs.shape[1:] or len(theirs) != len(rows):
                raise ValueError(
                    f"cannot insert state {other_name} {tuple(theirs.shape)} into {len(rows)} rows of "
                    f"{name} {tuple(mine.shape)}; both states must come from the same model"
                )
        for (_, mine), (_, theirs) in pairs:
            mine[rows] = theirs.to(mine)

    def join(self: S, other: S) -> S:
        """A new state with the rows of `other` after these.

        Raises:
            ValueError: if `other` was made by a differently shaped model.
        """
        for (name, mine), (other_name, theirs) in _pairs(self, other):
            if name != other_name or mine.shape[1:] != theirs.shape[1:]:
                raise ValueError(
                    f"cannot join state {other_name} {tuple(theirs.shape)} to {name} {tuple(mine.shape)}; "
                    "both states must come from the same model"
                )
        more = iter([tensor for _, tensor in other.tensors()])
        return self.map(lambda tensor: torch.cat((tensor, next(more).to(tensor))))

    def to(self: S, device: torch.device | str) -> S:
        """A copy on `device`."""
        return self.map(lambda tensor: tensor.to(device))


@dataclass(frozen=True)
class NoState(State):
    """The state of a part that remembers nothing."""


def check_state(state: State, kind: type[S], n_rows: int) -> S:
    """`state`, if it is a `kind` of `n_rows` rows.

    Raises:
        TypeError: if it is of another class.
        ValueError: if it holds another number of rows.
    """
    if not isinstance(state, kind):
        raise TypeError(
            f"state must be the {kind.__name__} that init_state returns, got {type(state).__name__}"
        )
    for _, tensor in state.tensors():
        if len(tensor) != n_rows:
            raise ValueError(
                f"the state holds {len(tensor)} rows, but there are {n_rows} in the input; make them equal, "
                "with State.select, State.join or another init_state"
            )
        break
    return state


def _pairs(mine: State, theirs: State) -> list[tuple[tuple[str, Tensor], tuple[str, Tensor]]]:
    """The tensors of two states side by side; where one has more, `nothing` of shape (0,) beside them."""
    nothing = ("nothing", torch.empty(0))
    return list(zip_longest(mine.tensors(), theirs.tensors(), fillvalue=nothing))


def _map(value: Any, function: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, State):
        return value.map(function)
    if isinstance(value, tuple):
        return tuple(_map(item, function) for item in value)
    raise TypeError(f"a State holds tensors, states and tuples of them, not {type(value).__name__}")


def _tensors(value: Any, name: str) -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, State):
        yield from value.tensors(f"{name}.")
    else:
        for i, item in enumerate(value):
            yield from _tensors(item, f"{name}.{i}")
