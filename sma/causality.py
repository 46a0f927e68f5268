"""Which modules of a model look ahead, for a model in which none may."""

from inspect import getattr_static

from torch import nn

from sma.part import Part, looks_ahead
from sma.routing import Router

_AT_MOST = 3


def looking_ahead(model: nn.Module) -> dict[str, nn.Module]:
    """The modules of a model that look ahead, by path: of those inside one another the innermost only.

    Whatever says so counts, contracts of this package or not, and whatever a container says of itself: a
    `causal` that is False, or `bidirectional` without `causal`. A router that `predicts` does not count.
    """
    return _search(model, "")[0]


def check_causal(model: nn.Module) -> None:
    """Raise ValueError if a module of a language model looks ahead.

    Args:
        model: the model, or a part of it.

    Example:
        >>> from sma.modules import MultiHeadEMA
        >>> mixers = nn.ModuleList([MultiHeadEMA(8), MultiHeadEMA(8, bidirectional=True)])
        >>> check_causal(mixers)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ValueError: ... but MultiHeadEMA at 1 looks ahead; set bidirectional to false there, ...
    """
    found = looking_ahead(model)
    if not found:
        return
    names = [type(module).__name__ + (f" at {path}" if path else "") for path, module in found.items()]
    more = f" and {len(found) - _AT_MOST} more" if len(found) > _AT_MOST else ""
    raise ValueError(
        "a language model predicts each element from those before it, but "
        f"{', '.join(names[:_AT_MOST])}{more} look{'s' if len(found) == 1 else ''} ahead; set "
        "bidirectional to false there, use a causal kind, or give an expert-choice router a predictor "
        "(d_predictor)"
    )


def _search(module: nn.Module, path: str) -> tuple[dict[str, nn.Module], bool]:
    """The modules in question, and whether a router that predicts is among those inside."""
    found: dict[str, nn.Module] = {}
    predicted = False
    for name, child in module.named_children():
        inside, predicts = _search(child, f"{path}.{name}" if path else name)
        found |= inside
        predicted |= predicts
    if found or not looks_ahead(module):
        return found, predicted
    if isinstance(module, Router) and module.predicts:
        return {}, True
    return ({}, True) if predicted and not _says_so(module) else ({path: module}, predicted)


def _says_so(module: nn.Module) -> bool:
    """Whether that it looks ahead is a module's own statement, not what it reads from its parts."""
    return (
        bool(getattr(module, "bidirectional", False))
        or "causal" in vars(module)
        or getattr_static(type(module), "causal", None) is not vars(Part)["causal"]
    )
