"""What a model consists of: parameters per part, and what an element costs."""

from dataclasses import dataclass

from torch import nn

from sma import SMA, SubModule

N = 1024
"""Elements that the cost of attention is averaged over."""


@dataclass(frozen=True)
class Part:
    """A row of the description.

    Attributes:
        name: dotted path in the model.
        kind: its class.
        parameters: how many numbers it holds.
        flops: forward operations per element that reaches it; None where they are not counted.
        routed: whether only elements that activate it reach it.
    """

    name: str
    kind: str
    parameters: int
    flops: float | None
    routed: bool = False


def describe(model: nn.Module) -> list[Part]:
    """The parts of a model, in order: its children, and inside blocks the mixers, branches and sub-modules.

    Matrix products and attention are counted, 2 operations per multiply-add, as `SubModule.flops` does.
    """
    parts: list[Part] = []
    seen: set[int] = set()
    for name, child in model.named_children():
        parts += _walk(name, child, seen)
    return parts


def _walk(name: str, module: nn.Module, seen: set[int]) -> list[Part]:
    if isinstance(module, nn.ModuleList):
        return [
            part for key, child in module.named_children() for part in _walk(f"{name}.{key}", child, seen)
        ]
    if isinstance(module, SMA):
        parts = _walk(f"{name}.router", module.router, seen)
        for i, sub_module in enumerate(module.sub_modules):
            parts.append(_part(f"{name}.sub_modules.{i}", sub_module, seen, routed=True))
        return parts
    children = [child for _, child in module.named_children()]
    if any(isinstance(inner, SMA) for inner in module.modules()) or any(
        isinstance(child, nn.ModuleList) for child in children
    ):
        return [
            part for key, child in module.named_children() for part in _walk(f"{name}.{key}", child, seen)
        ]
    part = _part(name, module, seen)
    return [part] if part.parameters or part.flops else []


def _part(name: str, module: nn.Module, seen: set[int], *, routed: bool = False) -> Part:
    own = [p for p in module.parameters() if id(p) not in seen]
    seen.update(id(p) for p in own)
    return Part(name, type(module).__name__, sum(p.numel() for p in own), _flops(module), routed)


def _flops(module: nn.Module) -> float | None:
    if isinstance(module, SubModule):
        try:
            return module.flops(N) / N
        except NotImplementedError:
            return None
    linears = [inner for inner in module.modules() if isinstance(inner, nn.Linear)]
    return float(sum(2 * linear.weight.numel() for linear in linears))
