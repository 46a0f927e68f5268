"""`recompute()`: activation checkpointing that replays the routing of the forward pass."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from contextvars import ContextVar, Token
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from typing_extensions import override

T = TypeVar("T")


def recompute(function: Callable[..., T], *args: Any) -> T:
    """`function(*args)`, whose activations are not kept for the backward pass but computed again there.

    Only `args` and the routers' decisions are kept. The decisions are replayed: logits that differ in their
    last bits the second time, as they may on a GPU, could otherwise activate other elements. Random numbers
    and autocast are those of the first time as well, and `record` does not see the second.

    Inside another `recompute`, and without gradients, this just calls the function. Under `torch.compile`
    the compiler recomputes, without replay.

    Args:
        function: such as a block of a model. What it changes besides, such as running averages, it changes
            only while `recomputing()` is false.
        args: its arguments.

    Returns:
        Its result.

    Example:
        >>> from sma.architectures import SeqBoat
        >>> layer, x = SeqBoat(8, window=4), torch.randn(2, 10, 8, requires_grad=True)
        >>> recompute(layer, x).sum().backward()
        >>> x.grad.shape
        torch.Size([2, 10, 8])
    """
    if torch.compiler.is_compiling():
        return checkpoint(function, *args, use_reentrant=False)
    if not torch.is_grad_enabled() or _current.get() is not None:
        return function(*args)
    decisions: list[Tensor] = []
    return checkpoint(
        function,
        *args,
        use_reentrant=False,
        context_fn=lambda: (_Pass(decisions, again=False), _Pass(decisions, again=True)),
    )


def replayed(active: Tensor) -> Tensor:
    """A decision, as it was made in the forward pass.

    SMA layers and mixtures of experts pass every router's decision through this. A router does so itself if
    its confidence or its losses depend on the decision.

    Args:
        active: bool, a decision.

    Returns:
        `active`; while `recompute` computes for the second time, what stood here the first time.

    Raises:
        RuntimeError: if there was no such decision the first time.

    Example:
        >>> active = torch.tensor([True, False])
        >>> replayed(active) is active
        True
    """
    current = None if torch.compiler.is_compiling() else _current.get()
    return active if current is None else current.take(active)


def recomputing() -> bool:
    """Whether what runs is computed for the second time: what was counted before must not count again.

    That is so in the second pass of `recompute`, and in whatever a backward pass calls, such as the second
    pass of `torch.utils.checkpoint`.

    Example:
        >>> recomputing()
        False
    """
    if torch.compiler.is_compiling():
        return False
    current = _current.get()
    return torch._C._current_graph_task_id() != -1 or (current is not None and current.again)


@dataclass
class _Pass(AbstractContextManager[None]):
    """The first pass through a recomputed function, or the second: once per backward pass."""

    decisions: list[Tensor]
    again: bool
    _ahead: Iterator[Tensor] = field(init=False)
    _token: "Token[_Pass | None]" = field(init=False)

    @override
    def __enter__(self) -> None:
        self._ahead = iter(self.decisions)
        self._token = _current.set(self)

    @override
    def __exit__(self, *error: object) -> None:
        _current.reset(self._token)

    def take(self, active: Tensor) -> Tensor:
        if not self.again:
            self.decisions.append(active)
            return active
        first = next(self._ahead, None)
        if first is None or first.shape != active.shape:
            raise RuntimeError(
                f"recompute cannot replay a decision of shape {tuple(active.shape)}: the first time "
                + ("there was none" if first is None else f"it was {tuple(first.shape)}")
                + "; the function must route the same inputs by the same layers each time"
            )
        return first


_current: ContextVar[_Pass | None] = ContextVar("recomputation", default=None)
