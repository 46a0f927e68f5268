"""`record()`: what every SMA layer decided, and what it cost."""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from typing_extensions import override

from sma.elements import Elements, PackedRows
from sma.recomputation import eagerly, recomputing
from sma.routing import Routing, unpacked
from sma.sub_module import SubModule

T = TypeVar("T")


@dataclass(frozen=True)
class LayerRecord:
    """One call of one SMA layer.

    Attributes:
        name: the layer's dotted name in the recorded model; "" for the model itself.
        routing: its decisions, `(B, L, M)`, attached to the graph.
        mask: `(B, L)` bool, True = a real element.
        received: `(B, M)` long; elements of each row that each sub-module received.
        layer: the layer itself.
    """

    name: str
    routing: Routing = field(repr=False)
    mask: Tensor = field(repr=False)
    received: Tensor = field(repr=False)
    layer: nn.Module = field(repr=False)

    @property
    def modules(self) -> list[SubModule]:
        """The layer's sub-modules."""
        return list(self.layer.sub_modules)  # type: ignore[arg-type]

    @property
    def activation_rate(self) -> Tensor:
        """`(M,)` float: the share of the real elements that activated each sub-module."""
        return self.routing.active.sum((0, 1)) / self.mask.sum().clamp(min=1)

    @property
    def n_elements(self) -> Tensor:
        """`(M,)` long: the elements that each sub-module received."""
        return self.received.sum(0)

    @property
    def overflow(self) -> Tensor:
        """`(M,)` long: active elements that a fixed capacity had no slot for."""
        return self.routing.active.sum((0, 1)) - self.n_elements

    @property
    def flops(self) -> list[int]:
        """Floating-point operations that each sub-module really spent on the rows, forward."""
        columns = zip(self.modules, self.received.unbind(1), strict=True)
        return [sum(module.flops(n) for n in column.tolist()) for module, column in columns]


@dataclass(repr=False)
class Recording:
    """The recorded calls of the SMA layers, in order.

    Attributes:
        layers: one record per call of an SMA layer.

    Example:
        >>> from sma import SMA
        >>> from sma.modules import AlwaysActive, FeedForward
        >>> layer = SMA(AlwaysActive(2), [FeedForward(4, d_hidden=8), FeedForward(4, d_hidden=16)])
        >>> with record(nn.Sequential(layer, layer)) as recording:
        ...     y = layer(layer(torch.zeros(1, 5, 4)))
        >>> recording
        Recording of 2 calls, activation rates per sub-module:
          0: 100.0% 100.0%
        >>> recording.flops
        {'0': 3840}
    """

    layers: list[LayerRecord] = field(default_factory=list)
    _names: Mapping[int, str] = field(default_factory=dict, repr=False)

    @property
    def losses(self) -> dict[str, Tensor]:
        """The routers' auxiliary losses, summed over layers by name."""
        totals: dict[str, Tensor] = {}
        for layer in self.layers:
            for name, loss in layer.routing.losses.items():
                totals[name] = totals[name] + loss if name in totals else loss
        return totals

    @property
    def activation_rates(self) -> dict[str, list[float]]:
        """Activation rate per sub-module, by layer name; a layer called several times is averaged.

        Several layers of one name, such as those outside the recorded model, are told apart as `name#0`,
        `name#1` and so on, in the order of their first calls.
        """
        return {
            name: torch.stack([call.activation_rate for call in calls]).mean(0).tolist()
            for name, calls in self._calls().items()
        }

    @property
    def flops(self) -> dict[str, int]:
        """Floating-point operations that each layer's sub-modules really spent, forward, by layer name.

        Those of a layer inside a sub-module count as its own only, so that all may be summed.
        """
        return {name: sum(sum(call.flops) for call in calls) for name, calls in self._calls().items()}

    @override
    def __repr__(self) -> str:
        rates = self.activation_rates.items()
        lines = (f"  {name}: {' '.join(f'{rate:.1%}' for rate in each)}" for name, each in rates)
        return "\n".join([f"Recording of {len(self.layers)} calls, activation rates per sub-module:", *lines])

    def _calls(self) -> dict[str, list[LayerRecord]]:
        """The calls of each layer, by its name."""
        calls: dict[nn.Module, list[LayerRecord]] = {}
        for call in self.layers:
            calls.setdefault(call.layer, []).append(call)
        names: dict[str, list[list[LayerRecord]]] = {}
        for each in calls.values():
            names.setdefault(each[0].name, []).append(each)
        return {
            f"{name}#{i}" if len(layers) > 1 else name: each
            for name, layers in names.items()
            for i, each in enumerate(layers)
        }


_current: ContextVar[Recording | None] = ContextVar("recording", default=None)

_as_results: list[Recording | None] = [None]
"""The recordings that calls will return, the innermost last: compiled code reads lists, not ContextVars."""


@contextmanager
def record(model: nn.Module | None = None, *, passed_on: bool = False) -> Iterator[Recording]:
    """Record every SMA layer that runs inside the `with` block.

    Compiled code cannot report to a block around it, so models that `torch.compile` has compiled run eagerly
    inside the block (one that is compiled only inside, as the first of the process, is missed). What
    `sma.recorded` returns computes its recording in compiled code.

    Activation checkpointing, `recompute` as well as `torch.utils.checkpoint`, calls a layer again in the
    backward pass; the second call is not recorded. With `use_reentrant=True` torch runs the first one without
    gradients, and the losses that it records have none: a warning says so.

    Args:
        model: layers are named by their dotted path in it. None: in the outermost model that announces
            itself with `naming`, as the models of `sma.architectures` do.
        passed_on: whether a recording around this one gets the layers as well, when the block ends.

    Yields:
        The recording, filled as layers run. Nested recordings do not see each other's layers otherwise.

    Example:
        >>> from sma.architectures import seqboat
        >>> model = seqboat(vocab_size=10, d_model=16, n_layers=2).build()
        >>> with record() as recording:
        ...     logits = model(torch.zeros(1, 5, dtype=torch.long))
        >>> [layer.name for layer in recording.layers]
        ['blocks.0.branches.1', 'blocks.1.branches.1']
    """
    recording = Recording(_names=layer_names(model))
    token = _current.set(recording)
    try:
        with eagerly():
            yield recording
    finally:
        _current.reset(token)
        outer = _current.get()
        if passed_on and outer is not None:
            outer.layers += recording.layers


@contextmanager
def naming(model: nn.Module) -> Iterator[None]:
    """Announce `model` as the root that recorded layers are named after, unless there is one already."""
    recording = None if torch.compiler.is_compiling() else _recording()
    if recording is None or recording._names:
        yield
        return
    recording._names = layer_names(model)
    try:
        yield
    finally:
        recording._names = {}


def recording_as_result(function: Callable[..., T], *args: Any, **kwargs: Any) -> tuple[T, Recording]:
    """The result of a call and its recording, whose layers have no names; for `sma.recorded` to compile."""
    recording = Recording()
    _as_results.append(recording)
    try:
        result = function(*args, **kwargs)
    finally:
        _as_results.pop()
    return result, recording


@contextmanager
def unrecorded() -> Iterator[None]:
    """Keep what runs inside the `with` block out of the recording around it."""
    token = _current.set(None)
    try:
        yield
    finally:
        _current.reset(token)


def record_layer(
    layer: nn.Module,
    routing: Routing,
    received: Sequence[Elements] | Tensor,
    mask: Tensor | None,
    rows: PackedRows | None = None,
) -> None:
    """Add a call of an SMA layer to the current recording, if there is one.

    Args:
        layer: has `sub_modules`, M of them.
        routing: its decisions.
        received: what each sub-module receives, or just how many elements of each row, `(B, M)` long.
        mask: as the layer got it.
        rows: what `routing` is about, if they are packed; recorded are decisions about the padded batch.
    """
    if rows is not None:  # also where nothing records: the two passes of `recompute` keep the same tensors
        routing, mask = unpacked(routing, rows), rows.mask
    recording = _recording()
    if recording is None:
        _warn_of_losses_without_gradient(layer, routing)
        return
    if mask is None:
        mask = torch.ones_like(routing.active[..., 0])
    if not isinstance(received, Tensor):
        received = torch.stack([elements.counts for elements in received], 1)
    name = recording._names.get(id(layer), "")
    recording.layers.append(LayerRecord(name, routing, mask, received, layer))


def _recording() -> Recording | None:
    """The current recording; none for what is computed for the second time.

    In compiled code, the one that its call returns; in what runs between compiled graphs as well.
    """
    if torch.compiler.is_compiling():
        return _as_results[-1]
    if recomputing():
        return None
    current = _current.get()
    return _as_results[-1] if current is None else current


def _warn_of_losses_without_gradient(layer: nn.Module, routing: Routing) -> None:
    """Warn in the second pass of reentrant checkpointing, where losses have the gradient that is missed."""
    recording = None if torch.compiler.is_compiling() else _current.get()
    if recording is None or not any(loss.requires_grad for loss in routing.losses.values()):
        return
    losses = [
        loss for call in recording.layers if call.layer is layer for loss in call.routing.losses.values()
    ]
    if losses and not any(loss.requires_grad for loss in losses):
        warnings.warn(
            f"the losses {', '.join(routing.losses)} were recorded without gradients, as torch's checkpoint "
            "runs the layer with use_reentrant=True; use sma.recompute, or use_reentrant=False",
            stacklevel=3,
        )


def layer_names(model: nn.Module | None) -> dict[int, str]:
    """The dotted name of every module in a model, by its id."""
    return {} if model is None else {id(module): name for name, module in model.named_modules()}
