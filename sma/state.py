"""Decoding state: what a model remembers between steps, as batch-first tensors."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from itertools import zip_longest
from typing import Any, TypeVar

import torch
import typing_extensions
from torch import Tensor
from typing_extensions import override

from sma.checks import describe

S = TypeVar("S", bound="State")
StateT = typing_extensions.TypeVar("StateT", bound="State", default=Any)
"""The decoding state of a part: `Router[MyState]`; a bare `Router` stands for any."""


@dataclass(frozen=True)
class State:
    """Base of all decoding states: a dataclass of tensors, nested states and tuples of states.

    Every tensor has the batch as its first dimension, so rows can leave a running batch (`select`), take the
    places of others (`insert`) and be added to it (`join`). A step updates the tensors in place. A result of
    any method but `narrow` owns its memory: a state that is kept does not change while another advances.

    The tensors of a state that is made under `torch.inference_mode` are ordinary ones, which may be used and
    updated outside of it.

    Example:
        >>> @dataclass(frozen=True)
        ... class Sums(State):
        ...     total: Tensor
        >>> state = Sums(torch.tensor([1.0, 2.0, 3.0]))
        >>> state.insert(torch.tensor([0]), state.select(torch.tensor([2])))
        >>> state.total
        tensor([3., 2., 3.])
        >>> state
        Sums of 3 rows: 1 tensor, 12 bytes on cpu
    """

    @override
    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "__repr__" not in cls.__dict__:  # or `dataclass` makes one that prints every number
            cls.__repr__ = State.__repr__  # type: ignore[method-assign]

    def __post_init__(self) -> None:
        if torch.compiler.is_compiling() or not torch.is_inference_mode_enabled():
            return
        for f in fields(self):
            object.__setattr__(self, f.name, _ordinary(getattr(self, f.name)))

    @override
    def __getstate__(self) -> dict[str, Any]:
        """The fields alone: what a step keeps beside them is neither copied nor saved."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @override
    def __repr__(self) -> str:
        tensors = [tensor for _, tensor in self.tensors()]
        name, n = type(self).__name__, len(tensors)
        if not tensors:
            return f"{name}()"
        size = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
        devices = ", ".join(sorted({str(tensor.device) for tensor in tensors}))
        plural = "" if n == 1 else "s"
        return f"{name} of {len(tensors[0])} rows: {n} tensor{plural}, {size:,} bytes on {devices}"

    def map(self: S, function: Callable[[Tensor], Tensor]) -> S:
        """A new state with `function` applied to every tensor; a result that shares memory is copied."""
        return _map(self, lambda tensor: _owned(function(tensor), tensor))

    def clone(self: S) -> S:
        """A copy."""
        return self.map(torch.clone)

    def tensors(self, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
        """All tensors with their dotted names, in a fixed order."""
        for f in fields(self):
            yield from _tensors(getattr(self, f.name), f"{prefix}{f.name}")

    def select(self: S, rows: Tensor) -> S:
        """A copy that holds only `rows` (long indices, a bool mask over the batch or a slice), in that order.

        Raises:
            ValueError: if they are something else, or there are no such rows.
        """
        self._check_rows(rows)
        return self.map(lambda tensor: tensor[rows])

    def narrow(self: S, start: int, length: int) -> S:
        """Rows from `start` on that share memory, as in `torch.narrow`: a step advances them here, too.

        Raises:
            ValueError: if there are no such rows.

        Example:
            >>> from sma.modules import GAU
            >>> state = GAU(8, window=2).init_state(4)
            >>> part = state.narrow(1, 2)
            >>> _ = part.count.add_(7)
            >>> state.count.tolist()
            [0, 7, 7, 0]
        """
        n_rows = next((len(tensor) for _, tensor in self.tensors()), start + length)
        if min(start, length) < 0 or start + length > n_rows:
            raise ValueError(
                f"start={start} and length={length} name rows that are not there: "
                f"the state holds {n_rows} rows"
            )
        return _map(self, lambda tensor: tensor.narrow(0, start, length))

    def insert(self: S, rows: Tensor, other: S) -> None:
        """Overwrite `rows` (long indices) with the rows of `other`, in place.

        Raises:
            ValueError: if `other` was made by a differently shaped model or holds another number of rows, or
                there are no such rows here.
        """
        self._check_rows(rows)
        pairs = _pairs(self, other)
        for (name, mine), (other_name, theirs) in pairs:  # all of them, before any is written
            if name != other_name or mine.shape[1:] != theirs.shape[1:] or len(theirs) != len(rows):
                raise ValueError(
                    f"cannot insert state {other_name} {tuple(theirs.shape)} into {len(rows)} rows of "
                    f"{name} {tuple(mine.shape)}; both states must come from the same model"
                )
        for (_, mine), (_, theirs) in pairs:
            mine[rows] = _owned(theirs.to(mine), mine)

    def _check_rows(self, rows: Any) -> None:
        """Raise ValueError unless there are such rows; a GPU is not asked for their values."""
        n_rows = next((len(tensor) for _, tensor in self.tensors()), None)
        if n_rows is None or isinstance(rows, slice):
            return
        if not isinstance(rows, Tensor) or rows.dim() != 1 or rows.is_floating_point() or rows.is_complex():
            raise ValueError(f"rows must be (n,) long indices, or a bool mask, got {describe(rows)}")
        if rows.dtype == torch.bool:
            if len(rows) != n_rows:
                raise ValueError(f"rows is a mask of {len(rows)} rows, but the state holds {n_rows}")
        elif rows.device.type == "cpu" and not torch.compiler.is_compiling() and len(rows):
            least, most = int(rows.min()), int(rows.max())
            if least < -n_rows or most >= n_rows:
                raise ValueError(
                    f"rows={least if least < -n_rows else most}, but the state holds {n_rows} rows, 0 to "
                    f"{n_rows - 1}; name rows of it, or join others first"
                )

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

    def to(self: S, *args: Any, **kwargs: Any) -> S:
        """A copy on another device or of another precision; arguments as for `torch.nn.Module.to`.

        Args:
            args: a device, a dtype, both, or a tensor that has them. The dtype is that of floating-point
                tensors; complex ones get the complex type of that precision, and counts stay integers.
            kwargs: `device`, `dtype`, `non_blocking`.

        Raises:
            ValueError: if the dtype is not a floating-point one.

        Example:
            >>> from sma.modules import GAU
            >>> GAU(8, window=2).init_state(1).to(torch.bfloat16).keys.dtype
            torch.bfloat16
        """
        device, dtype, non_blocking, _ = torch._C._nn._parse_to(*args, **kwargs)
        if dtype is not None and not dtype.is_floating_point:
            raise ValueError(f"dtype={dtype} cannot hold a decoding state; give a floating-point one")

        def converted(tensor: Tensor) -> Tensor:
            wanted = tensor.dtype
            if dtype is not None and tensor.is_complex():
                wanted = torch.promote_types(dtype, torch.complex64)
            elif dtype is not None and tensor.is_floating_point():
                wanted = dtype
            return tensor.to(device, wanted, non_blocking=non_blocking, copy=True)

        return self.map(converted)


@dataclass(frozen=True)
class NoState(State):
    """The state of a part that remembers nothing."""


def check_state(state: State, kind: type[S], n_rows: int, **shapes: tuple[int, ...]) -> S:
    """`state`, if it is a `kind` of `n_rows` rows, and its tensors have the shapes that a step needs.

    Args:
        state: what a step was given.
        kind: what `init_state` returns.
        n_rows: rows of the input.
        shapes: of fields of the state, without the batch.

    Raises:
        TypeError: if it is not a `State`.
        ValueError: if it is a state of another class, number of rows or shapes, as that of another model is;
            or one of `torch.inference_mode`, used outside of it.

    Example:
        >>> @dataclass(frozen=True)
        ... class Sums(State):
        ...     total: Tensor
        >>> check_state(Sums(torch.zeros(2, 4)), Sums, 2, total=(8,))
        Traceback (most recent call last):
        ValueError: the state is of another model: Sums.total is (B, 4), and (B, 8) is needed here; take ...
    """
    if not isinstance(state, kind):
        error = ValueError if isinstance(state, State) else TypeError
        raise error(f"state must be the {kind.__name__} that init_state returns, got {type(state).__name__}")
    for name, tensor in state.tensors():
        if len(tensor) != n_rows:
            raise ValueError(
                f"the state holds {len(tensor)} rows, but there are {n_rows} in the input; make them equal, "
                "with State.select, State.join or another init_state"
            )
        if not torch.compiler.is_compiling() and _is_frozen(tensor):
            raise ValueError(
                f"the state's {name} was made in compiled code under torch.inference_mode and cannot be "
                "updated outside of it; continue with State.clone()"
            )
        break
    for name, shape in shapes.items():
        own = tuple(getattr(state, name).shape[1:])
        if own != shape:
            raise ValueError(
                f"the state is of another model: {kind.__name__}.{name} is {_batch_of(own)}, and "
                f"{_batch_of(shape)} is needed here; take the state from this model's init_state or prefill"
            )
    return state


def check_parts(state: State, parts: tuple[State, ...], n_parts: int) -> None:
    """Raise ValueError unless a state holds as many states as there are parts to decode."""
    if len(parts) != n_parts:
        raise ValueError(
            f"the state is of another model: {type(state).__name__} holds {len(parts)} states, and there are "
            f"{n_parts} parts here; take the state from this model's init_state or prefill"
        )


def _batch_of(shape: tuple[int, ...]) -> str:
    return f"({', '.join(map(str, ('B', *shape)))})"


def _is_frozen(tensor: Tensor) -> bool:
    return tensor.is_inference() and not torch.is_inference_mode_enabled()


def _ordinary(value: Any) -> Any:
    """A field's value, tensors of inference mode in it, or in tuples, replaced by copies that are not."""
    if isinstance(value, tuple):
        return tuple(_ordinary(item) for item in value)
    if not isinstance(value, Tensor) or not value.is_inference():
        return value
    with torch.inference_mode(False), torch.no_grad():
        return value.clone()


def _owned(result: Tensor, source: Tensor) -> Tensor:
    """The result, or a copy of it if it shares the memory of `source`. Compiled code keeps track itself."""
    if torch.compiler.is_compiling():
        return result
    shares = result.untyped_storage().data_ptr() == source.untyped_storage().data_ptr()
    return result.clone() if shares else result


def _pairs(mine: State, theirs: State) -> list[tuple[tuple[str, Tensor], tuple[str, Tensor]]]:
    """The tensors of two states side by side; where one has more, `nothing` of shape (0,) beside them."""
    nothing = ("nothing", torch.empty(0))
    return list(zip_longest(mine.tensors(), theirs.tensors(), fillvalue=nothing))


def _map(value: Any, function: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, State):
        return type(value)(**{f.name: _map(getattr(value, f.name), function) for f in fields(value)})
    if isinstance(value, tuple):
        return tuple(_map(item, function) for item in value)
    raise _not_held(value)


def _not_held(value: Any) -> TypeError:
    return TypeError(f"a State holds tensors, states and tuples of them, not {type(value).__name__}")


def _tensors(value: Any, name: str) -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, State):
        yield from value.tensors(f"{name}.")
    elif isinstance(value, tuple):
        for i, item in enumerate(value):
            yield from _tensors(item, f"{name}.{i}")
    else:
        raise _not_held(value)
