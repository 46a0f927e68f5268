"""Decisions from elsewhere: `recompute()` replays those of the forward pass, `forcing()` sets them."""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar, Token
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from typing_extensions import override

from sma.routing import Router

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
    """A decision, as it was made in the forward pass, or as `forcing` sets it.

    SMA layers and mixtures of experts pass every router's decision through this. A router does so itself if
    its confidence or its losses depend on the decision.

    Args:
        active: bool, a decision.

    Returns:
        `active`; while `recompute` computes for the second time, what stood here the first time; inside
        `forcing`, with what is set there.

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
    _token: "Token[_Pass | _Forcing | None]" = field(init=False)

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


@dataclass(frozen=True)
class Forced:
    """Decisions of one layer that are set from outside.

    Attributes:
        where: `(B, L, M)` bool; which decisions; padding is inactive all the same.
        active: `(B, L, M)` bool; what they are, read only there.
    """

    where: Tensor
    active: Tensor


@contextmanager
def forcing(model: nn.Module, forced: Mapping[str, Forced]) -> Iterator[None]:
    """Set single routing decisions of a model inside the `with` block; all others are made as ever.

    It is causal intervention: later layers see what comes of it, and decide anew. An element that is made
    active has the confidence that its router gives it, which is the weight of what it then gets. `forward`
    is meant; `step` decides by itself.

    Args:
        model: holds the layers. If it is compiled, it runs eagerly inside the block.
        forced: what is set, by the dotted name of the layer, as `record` names it.

    Raises:
        ValueError: if there is no layer of such a name; and, in a call of the layer, if its decisions are of
            another shape.

    Example:
        >>> import sma
        >>> from sma.modules import AlwaysActive, FeedForward
        >>> model = nn.Sequential(sma.SMA(AlwaysActive(1), [FeedForward(4, d_hidden=8)]))
        >>> last = torch.tensor([False, False, True]).view(1, 3, 1)
        >>> with forcing(model, {"0": Forced(where=last, active=~last)}):
        ...     y = model(torch.randn(1, 3, 4))
        >>> (y != 0).any(-1).tolist()
        [[True, True, False]]
    """
    layers = {name: layer for name, layer in model.named_modules() if _routes(layer)}
    for name in forced:
        if name not in layers:
            raise ValueError(
                f"there is no routed layer {name!r} in the model; it has: {', '.join(layers) or 'none'}"
            )
    setting = _Forcing()
    hooks = [
        hook
        for name, layer in layers.items()
        for hook in (
            layer.register_forward_pre_hook(partial(setting.enter, name, forced.get(name)), with_kwargs=True),
            layer.register_forward_hook(lambda *call: setting.leave(), always_call=True),
        )
    ]
    token = _current.set(setting)
    try:
        with eagerly():
            yield
    finally:
        _current.reset(token)
        for hook in hooks:
            hook.remove()


def _routes(module: nn.Module) -> bool:
    """Whether a module is a layer behind a router, and not a router around another one."""
    return isinstance(getattr(module, "router", None), Router) and not isinstance(module, Router)


class _Forcing:
    """The layers that are running, the innermost last, each with what is set there."""

    again = False

    def __init__(self) -> None:
        self._running: list[tuple[str, Forced | None]] = []
        self._is_set = [False]

    def enter(
        self, name: str, forced: Forced | None, layer: nn.Module, args: Any, kwargs: Mapping[str, Any]
    ) -> None:
        mask = kwargs.get("mask", args[1] if len(args) > 1 else None)
        if forced is not None and mask is not None and mask.shape == forced.where.shape[:2]:
            forced = Forced(forced.where & mask.unsqueeze(-1), forced.active)
        self._running.append((name, forced))
        self._is_set.append(forced is None)

    def leave(self) -> None:
        name, forced = self._running.pop()
        if not self._is_set.pop() and forced is not None and sys.exc_info()[0] is None:
            raise ValueError(
                f"forced decisions of layer {name!r} are {tuple(forced.where.shape)}, but it decides in "
                "another shape; give (B, L, M) of the batch that the model reads"
            )

    def take(self, active: Tensor) -> Tensor:
        forced = self._running[-1][1] if self._running else None
        if forced is None or forced.where.shape != active.shape:
            return active  # of another layer, or of one of several routers that a router is made of
        self._is_set[-1] = True
        return torch.where(forced.where, forced.active, active)


def eagerly() -> AbstractContextManager[object]:
    """Lets compiled models run as if they were not; there are none before dynamo is imported."""
    if "torch._dynamo" not in sys.modules:
        return nullcontext()
    return torch.compiler.set_stance("force_eager")


_current: ContextVar[_Pass | _Forcing | None] = ContextVar("recomputation", default=None)
