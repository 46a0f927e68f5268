"""The parts of a model: their parameters, and the operations that an element costs."""

import math
from dataclasses import dataclass, replace

from torch import nn

from sma import SMA, PerElement, Pointwise, Router, SequenceModule, SubModule
from sma.architectures.models.heads import Classifier, LanguageModelHead
from sma.modules import Dense, ExpertBank, MixtureOfExperts
from sma.sequence import matrix_flops

N = 1024
"""Elements that the cost of attention is averaged over, where no other number is given."""


@dataclass(frozen=True)
class PartCost:
    """A row of the description.

    Attributes:
        name: dotted path in the model; `blocks.0-3.mixer` for the same part of several equal blocks.
        kind: its class.
        parameters: how many numbers one such part holds, those of earlier parts not counted again.
        flops: forward operations per element that reaches it; None if it does not count them.
        routed: whether only elements that activate it reach it.
        share: of the model's elements, how many reach it where routers choose what costs the most. Of a bank
            of experts, the sum over the experts.
        count: how many such parts there are.
    """

    name: str
    kind: str
    parameters: int
    flops: float | None
    routed: bool = False
    share: float = 1.0
    count: int = 1


def describe(model: nn.Module, n: int = N) -> list[PartCost]:
    """The parts of a model, in order: its children, and inside blocks the mixers, branches and sub-modules.

    Matrix products, recurrences and attention are counted, 2 operations per multiply-add, as `flops` does.

    Args:
        model: what is described.
        n: elements of a row, over which costs are averaged.
    """
    seen: set[int] = set()
    parts: list[PartCost] = []
    for name, child in model.named_children():
        if isinstance(child, nn.ModuleList):
            items = [_walk("", item, seen, n) for item in child]
            for (first, last), item in _runs(items):
                label = f"{name}.{first}" if first == last else f"{name}.{first}-{last}"
                parts += [replace(p, name=f"{label}{p.name}", count=last - first + 1) for p in item]
        else:
            parts += _walk(name, child, seen, n)
    return parts


def operations(parts: list[PartCost]) -> tuple[float, float]:
    """Operations per element of all parts: with nothing active, and at most, as `Router.max_rate` allows.

    Parts that do not count theirs are left out. A capacity that drops elements lowers neither.
    """
    costs = [(part.routed, (part.flops or 0) * part.share * part.count) for part in parts]
    return sum(cost for routed, cost in costs if not routed), sum(cost for _, cost in costs)


def totals(model: nn.Module, parts: list[PartCost], rates: dict[str, list[float]]) -> dict[str, float]:
    """Operations per element of all parts, by name: bounds where something is routed, and as measured.

    Args:
        model: whose parts they are.
        parts: see `describe`.
        rates: measured activation rates, by layer; none if nothing was measured.
    """
    always, at_most = operations(parts)
    if not any(part.routed for part in parts):
        return {"all": always}
    measured = {"all, as measured in the run's test": always + routed_flops(model, rates)} if rates else {}
    return {"all, nothing active": always, **measured, "all, at most": at_most}


def routed_flops(model: nn.Module, rates: dict[str, list[float]]) -> float:
    """Operations per element of what is routed, at these activation rates per sub-module, by layer name.

    The rates of a layer inside a routed sub-module are shares of the elements that reach it. What a capacity
    drops counts as active.
    """
    total = 0.0
    for name, layer_rates in rates.items():
        sub_modules = model.get_submodule(name).sub_modules
        costs = (_flops(module, N) or 0.0 for module in sub_modules)  # type: ignore[union-attr]
        reached = math.prod(
            rate
            for outer, outer_rates in rates.items()
            for i, rate in enumerate(outer_rates)
            if name.startswith(f"{outer}.sub_modules.{i}.".lstrip("."))
        )
        total += reached * sum(rate * cost for rate, cost in zip(layer_rates, costs, strict=True))
    return total


def _walk(name: str, module: nn.Module, seen: set[int], n: int) -> list[PartCost]:
    if isinstance(module, SMA):
        parts = _as_one(f"{name}.router", module.router, seen, n)
        each = [
            (_walk if _routes(sub_module) else _as_one)(f"{name}.sub_modules.{i}", sub_module, seen, n)
            for i, sub_module in enumerate(module.sub_modules)
        ]
        shares = _costliest(module.router, [operations(inner)[1] for inner in each])
        for inner, share in zip(each, shares, strict=True):
            parts += [replace(part, routed=True, share=share * part.share) for part in inner]
        return parts
    if isinstance(module, MixtureOfExperts):
        router = module.router
        bank = _part(f"{name}.bank", module.bank, seen, n)
        share = router.max_rate * router.n_modules
        return [*_as_one(f"{name}.router", router, seen, n), replace(bank, routed=True, share=share)]
    if _routes(module) or any(isinstance(inner, nn.ModuleList) for inner in module.modules()):
        inside = [
            part for key, child in module.named_children() for part in _walk(f"{name}.{key}", child, seen, n)
        ]
        own = sum(p.numel() for p in module.parameters(recurse=False) if id(p) not in seen)
        return [*([PartCost(name, type(module).__name__, own, 0.0)] if own else []), *inside]
    return _as_one(name, module, seen, n)


def _costliest(router: Router, costs: list[float]) -> list[float]:
    """The rate of each sub-module when together they cost the most that the router allows."""
    rates, left = [0.0] * len(costs), router.max_rate * len(costs)
    for m in sorted(range(len(costs)), key=lambda m: -costs[m]):
        rates[m] = min(1.0, left)
        left -= rates[m]
    return rates


def _as_one(name: str, module: nn.Module, seen: set[int], n: int) -> list[PartCost]:
    part = _part(name, module, seen, n)
    return [part] if part.parameters or part.flops != 0 else []


def _routes(module: nn.Module) -> bool:
    return any(isinstance(inner, SMA | MixtureOfExperts) for inner in module.modules())


def _runs(items: list[list[PartCost]]) -> list[tuple[tuple[int, int], list[PartCost]]]:
    """Equal neighbours as one item, each with its first and last place."""
    runs: list[tuple[tuple[int, int], list[PartCost]]] = []
    for place, item in enumerate(items):
        if runs and runs[-1][1] == item:
            runs[-1] = ((runs[-1][0][0], place), item)
        else:
            runs.append(((place, place), item))
    return runs


def _part(name: str, module: nn.Module, seen: set[int], n: int) -> PartCost:
    own = [p for p in module.parameters() if id(p) not in seen]
    seen.update(id(p) for p in own)
    inner = module.module if isinstance(module, PerElement | Pointwise | Dense) else module
    return PartCost(name, type(inner).__name__, sum(p.numel() for p in own), _flops(module, n))


def _flops(module: nn.Module, n: int) -> float | None:
    if isinstance(module, Router):
        return float(matrix_flops(module))
    if isinstance(module, SubModule | SequenceModule | LanguageModelHead | Classifier | ExpertBank):
        try:
            return module.flops(n) / n
        except NotImplementedError:
            return None
    linears = [inner for inner in module.modules() if isinstance(inner, nn.Linear)]
    return float(sum(2 * linear.weight.numel() for linear in linears))


def cells(part: PartCost) -> tuple[str, str, str, str]:
    """A row of the table of parts: name, kind, parameters and operations, as text."""
    times = f"{part.count} x " if part.count > 1 else ""
    cost = "not counted" if part.flops is None else f"{times}{part.flops:,.0f}" if part.flops else "-"
    return part.name, f"{part.kind}{' (routed)' if part.routed else ''}", f"{times}{part.parameters:,}", cost
