"""The callers of any module of torch, and of what a function calls."""

import inspect
from collections.abc import Callable
from typing import Any

from torch import nn
from typing_extensions import override

from sma.testing.black_box.callers.arguments import BY_FUNCTION, arguments_of
from sma.testing.black_box.callers.caller import Caller
from sma.testing.black_box.importing import importable
from sma.testing.black_box.inputs import Inputs

_REAL = ("mask", "attention_mask")
"""Arguments that are True or 1 at real elements."""
_PADDING = ("src_key_padding_mask", "key_padding_mask", "padding_mask")
"""Arguments that are True at padding."""


class PlainCaller(Caller):
    """Calls a module `(B, L, D) -> (B, L, D)`, or one that reads tokens `(B, L)`.

    A mask is given as `mask` or `attention_mask` (True at real elements), or as `key_padding_mask`,
    `src_key_padding_mask` or `padding_mask` (True at padding).

    Args:
        model: the module.
        inputs: what it reads.
        causal: whether it is causal; None: as its attribute `causal` says, if it has one.
        pooled: whether it has one result per row.
    """

    def __init__(
        self, model: nn.Module, inputs: Inputs, *, causal: bool | None = None, pooled: bool = False
    ) -> None:
        self.inputs, self.pooled = inputs, pooled
        says = getattr(model, "causal", None)
        self.causal = says if causal is None and isinstance(says, bool) else causal
        taken = arguments_of(model)
        self.padding_mask = next((name for name in _PADDING if name in taken.names), None)
        self.real_mask = next((name for name in _REAL if name in taken.names), None)
        self.masks = self.padding_mask is not None or self.real_mask is not None
        self.why_no_mask = taken.lacking("mask or key_padding_mask", self.why_no_mask, remedy=BY_FUNCTION)

    @override
    def forward(
        self, x: str = "x", *, mask: str | None = None, positions: str | None = None, model: str = "model"
    ) -> str:
        if mask is None:
            return f"{model}({x})"
        if self.padding_mask is not None:
            return f"{model}({x}, {self.padding_mask}=~{mask})"
        return f"{model}({x}, {self.real_mask}={mask})"


class FunctionCaller(Caller):
    """Calls a model by a function `call(model, x)` or `call(model, x, mask)`.

    Args:
        call: returns `(B, L, K)`, or `(B, K)`; `mask` is `(B, L)` bool, True at real elements, or None.
        inputs: what the model reads.
        causal: whether it is causal; None: not known.
        pooled: whether it has one result per row.
    """

    def __init__(
        self,
        call: Callable[..., Any],
        inputs: Inputs,
        *,
        causal: bool | None = None,
        pooled: bool = False,
    ) -> None:
        self.inputs, self.pooled, self.causal = inputs, pooled, causal
        taken = inspect.signature(call).parameters
        self.masks = len(taken) > 2 or any(one.kind is one.VAR_POSITIONAL for one in taken.values())
        self.why_no_mask = "the function that calls it takes no mask; give one (model, x, mask)"
        self.names = {"call": call}
        self.setup = _told(call)
        self.why_no_decoding = "it is called by a function, which reads whole rows"

    @override
    def forward(
        self, x: str = "x", *, mask: str | None = None, positions: str | None = None, model: str = "model"
    ) -> str:
        return f"call({model}, {x}, {mask})" if self.masks else f"call({model}, {x})"


def _told(call: Callable[..., Any]) -> tuple[str, ...]:
    """Lines of Python that set `call`: the function's own, if they need nothing but torch, or its import."""
    name = getattr(call, "__name__", type(call).__name__)
    try:
        lines = inspect.cleandoc("\n" + inspect.getsource(call)).splitlines()
        used = inspect.getclosurevars(call)
    except (OSError, TypeError):
        return (f"from {call.__module__} import {name} as call",)
    found = importable(call)
    if lines[0].startswith("def ") and (found is None or {*used.globals, *used.nonlocals} <= {"torch"}):
        return (*lines, *(() if name == "call" else (f"call = {name}",)))
    module, name = found or (call.__module__, name)
    return (f"from {module} import {name} as call",)
