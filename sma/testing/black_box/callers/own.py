"""The caller of models and modules of this project."""

from typing import Any

from torch import nn
from typing_extensions import override

from sma.causality import looking_ahead
from sma.routing import Router
from sma.sequence import SequenceModule
from sma.testing.black_box.callers.caller import Caller, Decoding
from sma.testing.black_box.inputs import Inputs


class OwnCaller(Caller):
    """Calls a `SequenceModule`, or a model with `prefill`, by the contracts of this project.

    Where a router chooses among all elements of a row, and a predictor decides in its place in decoding, the
    function that decodes is called, `prefill`.

    Args:
        model: the model or module.
        inputs: what it reads.
        pooled: whether it has one result per row.
    """

    def __init__(self, model: Any, inputs: Inputs, *, pooled: bool = False) -> None:
        self.inputs, self.pooled, self.masks, self.predicts = inputs, pooled, True, False
        module = isinstance(model, SequenceModule)
        windows = {part.window for part in model.modules() if isinstance(getattr(part, "window", None), int)}
        self.window = max(windows, default=None)
        if pooled:
            self.why_no_decoding = "it has one result per row"
            return
        self.causal = model.causal if module else not looking_ahead(model)
        self.predicts = not module and any(
            isinstance(part, Router) and part.predicts for part in model.modules()
        )
        try:
            model.init_state(1)
        except NotImplementedError as error:
            self.why_no_decoding = str(error)
        else:
            self.decoding = _decoding_of_module() if module else _decoding_of_model()

    @override
    def forward(
        self, x: str = "x", *, mask: str | None = None, positions: str | None = None, model: str = "model"
    ) -> str:
        given = x if mask is None else f"{x}, {mask}"
        return f"{model}.prefill({given})[0]" if self.predicts else f"{model}({given})"


def is_own(model: nn.Module) -> bool:
    """Whether a model follows a contract of this project."""
    return isinstance(model, SequenceModule) or (hasattr(model, "prefill") and hasattr(model, "init_state"))


def _decoding_of_module() -> Decoding:
    return _decoding(
        "{cache} = model.init_state(len({x}), dtype=x.dtype)",
        "y = model.step({x}, {cache}, None)",
        "y = model.step(x[:, a:b], {cache}, mask[:, a:b])",
    )


def _decoding_of_model() -> Decoding:
    return _decoding(
        "{cache} = model.init_state(len({x}))",
        "y, _ = model.prefill({x}, None, {cache})",
        "y, _ = model.prefill(x[:, a:b], mask[:, a:b], {cache})",
    )


def _decoding(start: str, read: str, read_padded: str) -> Decoding:
    select = "{cache} = {cache}.select({rows})"
    return Decoding(
        (start,),
        (read,),
        (read_padded,),
        select=select,
        leave=select,
        join="{cache} = {cache}.join({other})",
    )
