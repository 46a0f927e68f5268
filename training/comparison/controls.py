"""Controls of a routed model: the same without routing, routed at random, and wider instead of routed."""

from collections.abc import Callable, Iterable, Sequence
from math import lcm
from typing import Any

import torch
from torch import nn

from sma import SMA
from sma.architectures.files.yaml import parse_spec
from sma.training.comparison.parts import of_kind, parts, unrolled
from sma.training.environment import derive_seed
from sma.training.report.operations import OperationCount

Values = dict[str, Any]
CONTROLS = ("always", "never", "random", "window", "wider")
"""In the order in which they are reported."""
OF_A_RUN = ("random", "wider")
"""Those that need what routing realised in a run of the same seed and budget."""
UNROUTED = ("always", "never", "random")
"""Kinds of routers that learn nothing."""
WINDOW = 128
"""The window of attention that has none."""
WIDEST = 64
"""A wider model is at most so many times as wide."""


def routes(model: Values) -> bool:
    """Whether a model has a router that learns."""
    return any(layer["router"]["kind"] not in UNROUTED for layer in of_kind(model, "sma"))


def check_routed(name: str, model: Values) -> None:
    """See that a model has a router that learns.

    Raises:
        ValueError: if it does not.
    """
    if not routes(model):
        raise ValueError(
            f"controls: {name} has no layer with a learned router (kind sma), so nothing to control; "
            "leave out controls, or add a model that routes"
        )


def always(model: Values) -> Values:
    """The same model, every element of which activates every sub-module."""
    return _with_routers(model, lambda layer: {"kind": "always"})


def never(model: Values) -> Values:
    """The same model without the routed layers: branches that consist of one are left out.

    Where there is nothing else, the router never activates anything.
    """
    result = unrolled(model)
    for part in parts(result):
        branches = part.get("branches")
        if isinstance(branches, list):
            kept = [branch for branch in branches if not _routes(branch)]
            part["branches"] = kept or branches
    return _with_routers(result, lambda layer: {"kind": "never"})


def window(model: Values) -> Values:
    """Attention over its window alone: always active, and nothing else that mixes elements.

    Mixers before the branches of a block with a routed layer, such as a moving average, are left out, and so
    are sub-modules without a window beside one that has it. Attention over all activated elements gets a
    window of `WINDOW`.

    Raises:
        ValueError: if no routed sub-module has a window.
    """
    result = always(model)
    found = False
    for part in parts(result):
        if any(_routes(branch) for branch in part.get("branches") or []) and "mixer" in part:
            part["mixer"] = None
    for layer in of_kind(result, "sma"):
        local = [module for module in layer["modules"] if "window" in module]
        layer["modules"] = local or layer["modules"]
        for module in local:
            found, module["window"] = True, module["window"] or WINDOW
    if not found:
        raise ValueError("controls: window needs routed attention with a window; leave it out")
    return result


def at_random(model: Values, rates: Sequence[float], seed: int) -> Values:
    """The same model, routed at random.

    Args:
        model: its values.
        rates: of each routed layer, in order.
        seed: of the decisions; every layer has others.

    Raises:
        ValueError: if there are not as many rates as routed layers.
    """
    result = unrolled(model)
    layers = of_kind(result, "sma")
    if len(layers) != len(rates):
        raise ValueError(
            f"controls: random has {len(rates)} measured rates for {len(layers)} routed layers; leave it out"
        )
    for i, (layer, rate) in enumerate(zip(layers, rates, strict=True)):
        layer["router"] = {"kind": "random", "rate": rate, "seed": derive_seed(seed, i) % 2**32}
    return result


def wider(model: Values, target: float, lengths: Sequence[int]) -> Values:
    """The model without routed layers, of the width whose operations per element are nearest to a target.

    Args:
        model: its values.
        target: forward operations per element.
        lengths: of the rows over which operations are averaged.

    Raises:
        ValueError: if no width can be found.
    """
    plain, step = never(model), _step(model)

    def cost(n: int) -> float:
        return per_element({**plain, "d_model": n * step}, lengths)

    low, high = 1, max(2, model["d_model"] // step)
    while cost(high) < target:
        low, high = high, 2 * high
        if high * step > WIDEST * model["d_model"]:
            raise ValueError(
                f"controls: wider finds no width up to {WIDEST} times d_model={model['d_model']} that costs "
                f"{target:.3g} operations per element; leave it out"
            )
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if cost(middle) < target else (low, middle)
    n = min((low, high), key=lambda n: abs(cost(n) - target))
    return {**plain, "d_model": n * step}


def per_element(model: Values, lengths: Iterable[int]) -> float:
    """Forward operations per element with nothing active, averaged over rows of these lengths."""
    rows = list(lengths)
    return OperationCount(built(model)).fixed(rows) / max(sum(rows), 1)


def routed_names(model: Values) -> list[str]:
    """The names of the layers with a router, in the order of the model."""
    return [name for name, module in built(model).named_modules() if isinstance(module, SMA)]


def built(model: Values) -> nn.Module:
    """The model of some values, without memory."""
    with torch.device("meta"):
        module: nn.Module = parse_spec(model).build()
    return module


def _step(model: Values) -> int:
    """What a width must be a multiple of: twice the heads, whose features rotate in pairs."""
    needed = [2]
    for part in parts(model):
        needed += [2 * part["n_heads"]] if part.get("n_heads") else []
        needed += [part[name] for name in ("n_groups", "d_head") if part.get(name)]
    return lcm(*needed)


def _with_routers(model: Values, router: Callable[[Values], Values]) -> Values:
    result = unrolled(model)
    for layer in of_kind(result, "sma"):
        layer["router"] = router(layer)
    return result


def _routes(branch: Any) -> bool:
    return isinstance(branch, dict) and branch.get("kind") == "sma"
