"""`recorded()`: a model that returns its recording beside its result, so that both can be compiled."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from sma.recording import Recording, layer_names, record, recording_as_result, unrecorded

Recorded = Callable[..., tuple[Any, Recording]]

_TRACING = (
    "capture_dynamic_output_shape_ops",
    "capture_scalar_outputs",
    "skip_fwd_side_effects_in_bwd_under_checkpoint",
)
"""Settings of torch's compiler: numbers of active elements may vary in one graph, and the second pass of
activation checkpointing does not record."""


def recorded(model: nn.Module, *, compiled: bool = False, **options: Any) -> Recorded:
    """A function that calls a model and returns its result together with the recording of the call.

    Auxiliary losses, and everything else in the recording, are results like any other, attached to the graph.
    They can therefore be computed by compiled code, which `record` cannot: a model that `torch.compile`
    returned runs eagerly inside it.

    Compiled functions keep to one thread at a time. Parts that torch cannot compile run between several
    graphs; what they record is in the recording all the same.

    Args:
        model: layers are named by their dotted path in it.
        compiled: compile the call, and with it the losses.
        **options: of `torch.compile`, such as `backend` or `fullgraph`.

    Returns:
        A function of the model's arguments that gives `(result, recording)`.

    Raises:
        ValueError: if there are options, but nothing is compiled.

    Example:
        >>> from sma.architectures import seqboat
        >>> model = seqboat(vocab_size=10, d_model=16, n_layers=2).build()
        >>> scores, recording = recorded(model)(torch.zeros(1, 5, dtype=torch.long))
        >>> [layer.name for layer in recording.layers]
        ['blocks.0.branches.1', 'blocks.1.branches.1']
    """
    if compiled:
        return _compiled(model, options)
    if options:
        raise ValueError(f"options {sorted(options)} are those of torch.compile; set compiled=True")

    def run(*args: Any, **kwargs: Any) -> tuple[Any, Recording]:
        with record(model) as recording:
            return model(*args, **kwargs), recording

    return run


def tracing() -> AbstractContextManager[None]:
    """Settings of torch's compiler inside the `with` block, with which models compile to one graph."""
    config: Any = torch._dynamo.config
    settings = {name: True for name in _TRACING if hasattr(config, name)}
    patched: AbstractContextManager[None] = config.patch(settings)
    return patched


def graph_breaks() -> list[str]:
    """Where torch's compiler had to leave its graphs in this process so far, each with its reason."""
    from torch._dynamo.utils import counters

    return [" ".join(reason.split()) for reason, n in counters["graph_break"].items() for _ in range(n)]


def _compiled(model: nn.Module, options: dict[str, Any]) -> Recorded:
    traced = torch.compile(lambda *args, **kwargs: recording_as_result(model, *args, **kwargs), **options)
    names = layer_names(model)

    def run(*args: Any, **kwargs: Any) -> tuple[Any, Recording]:
        with unrecorded(), tracing():
            result, recording = traced(*args, **kwargs)
        layers = [replace(call, name=names.get(id(call.layer), "")) for call in recording.layers]
        return result, replace(recording, layers=layers)

    return run
