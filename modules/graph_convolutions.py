"""The convolutions of torch_geometric by name, with their arguments checked."""

import difflib
import inspect
import json
from collections.abc import Collection, Mapping
from typing import Any, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError
from torch import nn

_WIDTHS = ("in_channels", "out_channels", "channels")
_INHERITED = ("aggr", "aggr_kwargs", "flow")
_NETWORK_INPUTS = {"GINConv": 1, "GINEConv": 1, "EdgeConv": 2}


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
        ValueError: see `check_convolution`; also if heads do not divide `d_model`.

    Example:
        >>> named_convolution(8, "GATv2Conv", {"heads": 2})
        GATv2Conv(8, 4, heads=2)
    """
    arguments = {} if arguments is None else dict(arguments)
    convolution = check_convolution(name, arguments, edge_inputs)
    parameters = _parameters(convolution.__init__)
    widths = {width: d_model for width in _WIDTHS if width in parameters}
    options = {key: p.default for key, p in parameters.items()} | arguments
    if "heads" in options and options.get("concat"):
        if options["heads"] < 1 or d_model % options["heads"]:
            raise ValueError(
                f"heads={options['heads']} of {name} must divide d_model={d_model}, over which they are "
                "concatenated; change heads, or set concat to false"
            )
        widths["out_channels"] = d_model // options["heads"]
    if name in _NETWORK_INPUTS:
        widths["nn"] = nn.Sequential(  # type: ignore[assignment]
            nn.Linear(_NETWORK_INPUTS[name] * d_model, d_model), nn.ReLU(), nn.Linear(d_model, d_model)
        )
    try:
        return convolution(**widths, **_checked(convolution, arguments))
    except (TypeError, ValueError, AssertionError) as error:
        raise ValueError(f"{name} does not take {arguments}: {error or type(error).__name__}") from error


def check_convolution(name: str, arguments: Mapping[str, Any], edge_inputs: Collection[str] = ()) -> Any:
    """The class in `torch_geometric.nn` of that name, if it fits and takes these arguments.

    Raises:
        ValueError: if there is none, if it needs more than `x`, `edge_index` and `edge_inputs`, or if an
            argument is unknown, missing or of the wrong type. The message says what there is.
    """
    convolution = _find(name)
    inputs = _parameters(convolution.forward)
    if _required(convolution.forward) - set(edge_inputs) != {"x", "edge_index"}:
        raise ValueError(
            f"{name} is called with ({', '.join(inputs)}), and a graph convolution here gets x, "
            "edge_index and edge_inputs only; use another one"
        )
    for key in edge_inputs:
        if not key.startswith("edge_") or key not in inputs:
            known = [k for k in inputs if k.startswith("edge_") and k != "edge_index"]
            raise ValueError(f"{name} reads no edge input {key!r}{_near(key, known)}")
    _checked(convolution, arguments)
    return convolution


def _find(name: str) -> Any:
    import torch_geometric.nn as library

    convolutions: dict[str, Any] = {
        key: found
        for key, found in vars(library).items()
        if isinstance(found, type) and issubclass(found, library.MessagePassing)
    }
    if name not in convolutions:
        fit = [key for key, c in convolutions.items() if _required(c.forward) == {"x", "edge_index"}]
        raise ValueError(f"torch_geometric.nn has no convolution {name!r}{_near(name, sorted(fit))}")
    return convolutions[name]


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
            raise ValueError(f"{name} has no argument {key!r} here{_near(key, known)}")
    given = {*arguments, *_WIDTHS, *(["nn"] if name in _NETWORK_INPUTS else [])}
    missing = [key for key in parameters if key in _required(convolution.__init__) - given]
    if missing:
        remedy = "build it in Python, for GraphConvolution" if missing == ["nn"] else "add it"
        raise ValueError(f"{name} needs the argument {', '.join(missing)}; {remedy}")
    hints = get_type_hints(convolution.__init__)
    return {key: _typed(name, key, value, hints.get(key, Any)) for key, value in arguments.items()}


def _typed(name: str, key: str, value: Any, hint: Any) -> Any:
    adapter = TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True))
    try:
        return adapter.validate_json(json.dumps(value), strict=True)
    except ValidationError as error:
        wanted = hint.__name__ if isinstance(hint, type) else str(hint).replace("typing.", "")
        raise ValueError(f"argument {key!r} of {name} must be {wanted}, got {value!r}") from error
    except TypeError as error:
        given = type(value).__name__
        raise ValueError(f"argument {key!r} of {name} must be a JSON value, got {given}") from error


def _near(name: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(name, known, 3)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    return f"; {hint}there are: {', '.join(known)}"
