"""The convolutions of torch_geometric by name, with their arguments checked."""

import inspect
import json
import math
import reprlib
from collections.abc import Collection, Mapping
from functools import cache, lru_cache
from typing import Any, get_type_hints

import torch
from pydantic import ConfigDict, TypeAdapter, ValidationError
from torch import Tensor, nn

from sma.checks import near

_WIDTHS = ("in_channels", "out_channels", "channels")
_INHERITED = ("aggr", "aggr_kwargs", "flow")
_NETWORK_INPUTS = {"GINConv": 1, "GINEConv": 1, "EdgeConv": 2}
_UNFIT = {"DNAConv", "MeshCNNConv", "NNConv", "PANConv", "PNAConv"}
"""Called like the others, but `x` or the result has another shape, or an argument cannot be a JSON value."""

_MAX_CHARACTERS, _MAX_INTEGER = 1000, 256
_MAX_SIZES = {
    "dim": 4096,
    "edge_dim": 4096,
    "hidden_channels": 4096,
    "in_edge_channels": 4096,
    "num_relations": 4096,
}
"""Bounds of sizes. Over other integers, such as the number of hops, constructors loop."""

_TRIAL_WIDTH, _TRIAL_PARAMETERS = 256, 2**24


def named_convolution(
    d_model: int,
    name: str,
    arguments: Mapping[str, Any] | None = None,
    edge_inputs: Collection[str] = (),
) -> nn.Module:
    """Make a convolution of torch_geometric that keeps the width.

    Widths are filled in: `in_channels`, `out_channels` and `channels`, and heads that are concatenated share
    `d_model`. So is the network of `GINConv`, `GINEConv` and `EdgeConv`: two linear layers with ReLU between.

    Args:
        d_model: D.
        name: of a class in `torch_geometric.nn`, such as `GATv2Conv`.
        arguments: of its constructor, as JSON values.
        edge_inputs: what it will read of every edge, as in `GraphConvolution`.

    Raises:
        ValueError: see `check_convolution`; also if heads do not divide `d_model`, or if the convolution
            fails on a small graph, or does not keep the width.

    Example:
        >>> named_convolution(8, "GATv2Conv", {"heads": 2})
        GATv2Conv(8, 4, heads=2)
    """
    arguments = {} if arguments is None else arguments
    convolution = check_convolution(name, arguments, edge_inputs)
    width = _trial_width(d_model, _options(convolution, arguments))
    _try(name, json.dumps(dict(arguments), sort_keys=True), tuple(sorted(edge_inputs)), width)
    return _made(d_model, name, arguments)


def _made(d_model: int, name: str, arguments: Mapping[str, Any]) -> nn.Module:
    convolution = _find(name)
    parameters, options = _parameters(convolution.__init__), _options(convolution, arguments)
    filled: dict[str, Any] = {width: d_model for width in _WIDTHS if width in parameters}
    if "heads" in options and options.get("concat"):
        if options["heads"] < 1 or d_model % options["heads"]:
            raise ValueError(
                f"heads={options['heads']} of {name} must divide d_model={d_model}, over which they are "
                "concatenated; change heads, or set concat to false"
            )
        filled["out_channels"] = d_model // options["heads"]
    if name in _NETWORK_INPUTS:
        filled["nn"] = nn.Sequential(
            nn.Linear(_NETWORK_INPUTS[name] * d_model, d_model), nn.ReLU(), nn.Linear(d_model, d_model)
        )
    try:
        made: nn.Module = convolution(**filled, **_checked(convolution, arguments))
    except Exception as error:
        if isinstance(error, RuntimeError) and not isinstance(error, NotImplementedError):
            raise  # torch's, such as no memory
        raise ValueError(f"{_called(name, arguments)} cannot be made: {_reason(error)}") from error
    return made


def _trial_width(d_model: int, options: Mapping[str, Any]) -> int:
    """`d_model`, or a smaller width that every option divides which divides `d_model`."""
    step = math.lcm(*(n for n in options.values() if type(n) is int and n > 0 and d_model % n == 0))
    return min(d_model, step * math.ceil(_TRIAL_WIDTH / step))


@lru_cache(1024)
def _try(name: str, arguments_json: str, edge_inputs: tuple[str, ...], width: int) -> None:
    """Call a convolution on a small graph, unless it is very large, or the meta device cannot make it."""
    arguments = json.loads(arguments_json)
    called, convolution = _called(name, arguments), _find(name)
    try:
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            n_parameters = sum(p.numel() for p in _made(width, name, arguments).parameters())
    except RuntimeError:
        return
    if n_parameters > _TRIAL_PARAMETERS:
        return
    options = _options(convolution, arguments)
    edge_width = options.get("edge_dim") or options.get("in_edge_channels") or options.get("dim") or width
    with torch.random.fork_rng(devices=[]), torch.device("cpu"), torch.no_grad():
        x, edge_index = torch.ones(3, width), torch.tensor([[1, 2, 0, 2, 0, 1], [0, 0, 1, 1, 2, 2]])
        values = {"edge_type": torch.zeros(6, dtype=torch.long), "edge_weight": torch.ones(6)}
        inputs = {key: values.get(key, torch.ones(6, edge_width)) for key in edge_inputs}
        module = _made(width, name, arguments).eval()
        try:
            result = module(x, edge_index, **inputs)
        except Exception as error:
            others = [key for key in _edge_inputs(convolution) if key not in edge_inputs]
            hint = f"; it could also get the edge inputs {', '.join(others)}" if others else ""
            raise ValueError(f"{called} fails on a small graph: {_reason(error)}{hint}") from error
    if not isinstance(result, Tensor) or result.shape != x.shape:
        given = tuple(result.shape) if isinstance(result, Tensor) else type(result).__name__
        raise ValueError(
            f"{called} maps {tuple(x.shape)} to {given}, but must keep the width; change its arguments, or "
            "use another one"
        )


def _called(name: str, arguments: Mapping[str, Any]) -> str:
    return f"{name} with {reprlib.repr(dict(arguments))}" if arguments else name


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def check_convolution(name: str, arguments: Mapping[str, Any], edge_inputs: Collection[str] = ()) -> Any:
    """The class in `torch_geometric.nn` of that name, if it fits and takes these arguments.

    Raises:
        ValueError: if there is none, if it needs more than `x`, `edge_index` and `edge_inputs`, or if an
            argument is unknown, missing, of the wrong type, or very large. The message says what there is.
    """
    convolution = _find(name)
    inputs = _parameters(convolution.forward)
    if _required(convolution.forward) - set(edge_inputs) != {"x", "edge_index"}:
        raise ValueError(
            f"{name} is called with ({', '.join(inputs)}), and a graph convolution here gets x, "
            "edge_index and edge_inputs only; use another one"
        )
    for key in edge_inputs:
        if key not in _edge_inputs(convolution):
            raise ValueError(f"{name} reads no edge input {key!r}{near(key, _edge_inputs(convolution))}")
    _checked(convolution, arguments)
    return convolution


def _find(name: str) -> Any:
    known = _convolutions()
    if name not in known:
        fit = [key for key, c in known.items() if _required(c.forward) == {"x", "edge_index"}]
        hint = near(name, sorted({*fit} - _UNFIT))
        raise ValueError(f"torch_geometric.nn has no convolution {reprlib.repr(name)}{hint}")
    return known[name]


@cache
def _convolutions() -> dict[str, Any]:
    import torch_geometric.nn as library

    return {
        key: found
        for key, found in vars(library).items()
        if isinstance(found, type) and issubclass(found, library.MessagePassing)
    }


def _edge_inputs(convolution: Any) -> list[str]:
    return [k for k in _parameters(convolution.forward) if k.startswith("edge_") and k != "edge_index"]


def _options(convolution: Any, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a convolution's constructor, defaults included."""
    return {key: p.default for key, p in _parameters(convolution.__init__).items()} | dict(arguments)


def _required(function: Any) -> set[str]:
    return {key for key, p in _parameters(function).items() if p.default is p.empty}


def _parameters(function: Any) -> dict[str, inspect.Parameter]:
    """The named parameters of a method, without `self`."""
    parameters = list(inspect.signature(function).parameters.values())[1:]
    return {p.name: p for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)}


def _checked(convolution: Any, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a convolution's constructor in the types that it declares."""
    name, parameters = convolution.__name__, _parameters(convolution.__init__)
    filled = {*_WIDTHS, "nn"}
    known = [key for key in (*parameters, *_INHERITED) if key not in filled and key != "cached"]
    for key in arguments:
        if key in filled:
            raise ValueError(f"argument {key!r} of {name} follows from d_model; leave it out")
        if key not in known:
            raise ValueError(f"{name} has no argument {reprlib.repr(key)} here{near(key, known)}")
    given = {*arguments, *_WIDTHS, *(["nn"] if name in _NETWORK_INPUTS else [])}
    missing = [key for key in parameters if key in _required(convolution.__init__) - given]
    if missing:
        remedy = "build it in Python, for GraphConvolution" if missing == ["nn"] else "add it"
        raise ValueError(f"{name} needs the argument {', '.join(missing)}; {remedy}")
    hints = get_type_hints(convolution.__init__)
    return {key: _typed(name, key, value, hints.get(key, Any)) for key, value in arguments.items()}


def _typed(name: str, key: str, value: Any, hint: Any) -> Any:
    try:
        text = json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        given = type(value).__name__
        raise ValueError(f"argument {key!r} of {name} must be a JSON value, got {given}: {error}") from error
    _check_length(name, key, text)
    if hint is not float:
        _check_integers(name, key, text)
    adapter = TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True))
    try:
        return adapter.validate_json(text, strict=True)
    except ValidationError as error:
        wanted = hint.__name__ if isinstance(hint, type) else str(hint).replace("typing.", "")
        raise ValueError(f"argument {key!r} of {name} must be {wanted}, got {reprlib.repr(value)}") from error


def _check_length(name: str, key: str, text: str) -> None:
    if len(text) > _MAX_CHARACTERS:
        raise ValueError(
            f"argument {key!r} of {name} must be at most {_MAX_CHARACTERS} characters long as JSON, got "
            f"{len(text)}: {reprlib.repr(text)}"
        )


def _check_integers(name: str, key: str, text: str) -> None:
    """Refuse what a constructor would take long over."""
    largest = _MAX_SIZES.get(key, _MAX_INTEGER)
    integers: list[int] = []
    json.loads(text, parse_int=lambda digits: integers.append(int(digits)))
    for integer in integers:
        if not 0 <= integer <= largest:
            raise ValueError(
                f"argument {key!r} of {name} must be 0 to {largest}, got {reprlib.repr(integer)}"
            )
