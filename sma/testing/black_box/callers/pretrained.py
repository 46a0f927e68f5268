"""The caller of models of the transformers library."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from typing_extensions import override

from sma.testing.black_box.callers.arguments import BY_FUNCTION, Arguments, arguments_of
from sma.testing.black_box.callers.caller import Caller, Decoding
from sma.testing.black_box.inputs import N_KINDS, Inputs, Tokens

_WINDOWS = ("sliding_window", "attention_window_size", "window_size", "mamba_chunk_size", "chunk_size")
"""Fields of configurations that bound what an element sees, or how a row is cut into chunks."""
_CACHES = ("past_key_values", "cache_params", "state")
"""Arguments, and fields of an output, that hold what a model remembers."""


class PretrainedCaller(Caller):
    """Calls a `transformers.PreTrainedModel` that reads tokens: causal, masked, a classifier, or an encoder.

    Args:
        model: the model.
        causal: whether it is causal; None: as its class and configuration say.

    Raises:
        ValueError: if it reads no tokens, or is an encoder with a decoder.
    """

    def __init__(self, model: Any, causal: bool | None = None) -> None:
        self.config = model.config
        self.arguments = arguments_of(model)
        _check_reads_tokens(model, self.arguments.names)
        self.inputs: Inputs = _tokens(self.config)
        ids = torch.tensor([self.inputs.ids[:3]] * 2)
        output = _output(model, ids)
        self.output = "logits" if getattr(output, "logits", None) is not None else "last_hidden_state"
        if getattr(output, self.output, None) is None:
            raise ValueError(
                f"the output of {type(model).__name__} has neither logits nor last_hidden_state; give a "
                "function call(model, x, mask) that returns (B, L, K), or (B, K)"
            )
        self.pooled = getattr(output, self.output).shape[:2] != (2, 3)
        lacking = self.arguments.lacking
        self.masks = "attention_mask" in self.arguments.names
        self.why_no_mask = lacking("attention_mask", self.why_no_mask, remedy=BY_FUNCTION)
        self.positions = "position_ids" in self.arguments.names
        if not self.positions:
            self.why_no_positions = lacking("position_ids", self.why_no_positions, remedy="")
        self.causal = model.can_generate() or None if causal is None else causal
        if causal is None and type(model).__name__.endswith(("ForMaskedLM", "EncoderModel")):
            self.causal = False
        windows = (getattr(self.config, name, None) for name in _WINDOWS)
        self.window = next((n for n in windows if isinstance(n, int) and n > 0), None)
        if self.causal and not self.pooled and self.output == "logits":
            self.decoding, self.why_no_decoding = _decoding(model, self.arguments, self.output, ids)
        elif not self.causal:
            self.why_no_decoding = "it is not causal"

    @override
    def forward(
        self, x: str = "x", *, mask: str | None = None, positions: str | None = None, model: str = "model"
    ) -> str:
        return self._call(x, mask, positions, model)

    @override
    def packed(self, positions: str, mask: str | None = None) -> str | None:
        """Without a cache, as in training: only then positions that start anew separate documents."""
        if not self.positions or self.pooled or not self.causal:
            return None
        switched = "use_cache" in self.arguments.names or self.arguments.any_keyword
        cache = ", use_cache=False" if switched else ""
        return self._call("x", mask, positions, "model", cache)

    @override
    def recomputing(self) -> tuple[str, str]:
        switch = (
            "(model.gradient_checkpointing_enable if recompute else model.gradient_checkpointing_disable)()"
        )
        return switch, self.forward()

    @override
    def saving(self) -> tuple[str, ...]:
        return (
            "import tempfile",
            "with tempfile.TemporaryDirectory() as folder:",
            "    model.save_pretrained(folder)",
            "    again = type(model).from_pretrained(folder, dtype=model.dtype).eval()",
        )

    def _call(self, x: str, mask: str | None, positions: str | None, model: str, more: str = "") -> str:
        mask = "" if mask is None else f", attention_mask={mask}.long()"
        positions = "" if positions is None else f", position_ids={positions}"
        return f"{model}({x}{mask}{positions}{more}).{self.output}"


@contextmanager
def quiet() -> Iterator[None]:
    """Without the progress bars, messages and warnings of transformers."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def _check_reads_tokens(model: Any, arguments: tuple[str, ...]) -> None:
    """Raise ValueError unless a model reads a row of tokens, and nothing else."""
    name = type(model).__name__
    if getattr(model.config, "is_encoder_decoder", False) and "decoder_input_ids" in arguments:
        raise ValueError(
            f"{name} is an encoder with a decoder; check model.get_encoder(), or give a function "
            "call(model, x, mask)"
        )
    if arguments[:1] != ("input_ids",):
        raise ValueError(
            f"{name} takes {next(iter(arguments), 'nothing')} first, not input_ids; give a function "
            "call(model, x, mask), and vocab_size or d_model for its inputs"
        )


def _output(model: Any, ids: Any) -> Any:
    """What a model returns in evaluation.

    Raises:
        ValueError: if it cannot be called with tokens alone.
    """
    try:
        with torch.no_grad():
            return model.eval()(ids)
    except Exception as error:
        raise ValueError(
            f"{type(model).__name__} cannot be called as model(x) with x = torch.tensor({ids.tolist()}) "
            f"({type(error).__name__}: {error}); give a function call(model, x, mask) that calls it, and "
            "vocab_size or d_model for x"
        ) from error


def _tokens(config: Any) -> Tokens:
    """Tokens all over the vocabulary that mean nothing in particular."""
    text = config.get_text_config()
    padding = text.pad_token_id if isinstance(getattr(text, "pad_token_id", None), int) else 0
    special = {padding}
    for name in ("bos_token_id", "eos_token_id", "sep_token_id", "cls_token_id", "mask_token_id"):
        value = getattr(text, name, None)
        special |= {value} if isinstance(value, int) else set(value or ())
    usable = [i for i in range(text.vocab_size) if i not in special]
    stride = max(len(usable) // N_KINDS, 1)
    return Tokens(tuple(usable[::stride][:N_KINDS]), padding)


def _decoding(model: Any, arguments: Arguments, output: str, ids: Any) -> tuple[Decoding | None, str]:
    """How a causal model decodes; or why it does not."""
    name = next((name for name in _CACHES if name in arguments.names), None)
    if name is None:
        return None, arguments.lacking("past_key_values", "its forward takes no cache", remedy="")
    try:
        cache, start, returned = _cache(model, name, ids)
    except (ValueError, NotImplementedError) as error:
        return None, str(error)
    kept = f"y, {{cache}} = out.{output}, out.{name}" if returned else f"y = out.{output}"
    return Decoding(
        start,
        (f"out = model({{x}}, {name}={{cache}}, use_cache=True{{positions}})", kept),
        (
            f"step = dict({name}={{cache}}, attention_mask=mask[:, :b].long(), use_cache=True{{positions}})",
            "step = model.prepare_inputs_for_generation(",
            "    x[:, :b], next_sequence_length=b - a, is_first_iteration=a == 0, **step)",
            "out = model(**step)",
            kept,
        ),
        ", position_ids={positions}",
        **_moves(cache),
    ), ""


def _cache(model: Any, name: str, ids: Any) -> tuple[Any, tuple[str, ...], bool]:
    """A cache that has read `ids`, the lines that make an empty one, and whether the model returns it."""
    with torch.no_grad():
        cache = getattr(model(ids, use_cache=True), name, None)
        if cache is not None:
            return cache, ("{cache} = None",), True
        from transformers import DynamicCache

        cache = DynamicCache(config=model.config)  # it is updated in place, and not returned
        model(ids, use_cache=True, **{name: cache})
    start = ("from transformers import DynamicCache", "{cache} = DynamicCache(config=model.config)")
    return cache, start, False


def _moves(cache: Any) -> dict[str, Any]:
    """How rows of a cache are moved, and why not."""
    kind = type(cache).__name__
    moves: dict[str, Any] = {}
    why = {"join": "caches of transformers have no operation that joins rows"}
    if hasattr(cache, "reorder_cache"):
        moves["select"] = "{cache}.reorder_cache({rows})"
    else:
        why["select"] = f"{kind} cannot reorder its rows"
    layers = getattr(cache, "layers", ())
    lacks = [layer for layer in (cache, *layers) if not hasattr(layer, "batch_select_indices")]
    if lacks:
        why["leave"] = f"{type(lacks[0]).__name__} has no batch_select_indices"
    else:
        moves["leave"] = "{cache}.batch_select_indices({rows})"
    return {**moves, "why_not": tuple(why.items())}
