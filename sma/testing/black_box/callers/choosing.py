"""The choice of the caller of a model, and of its inputs."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from sma.sequence import input_width
from sma.testing.black_box.callers.caller import Caller
from sma.testing.black_box.callers.own import OwnCaller, is_own
from sma.testing.black_box.callers.plain import FunctionCaller, PlainCaller
from sma.testing.black_box.callers.pretrained import PretrainedCaller
from sma.testing.black_box.inputs import N_KINDS, Features, Inputs, Tokens, sample

_SHAPE = (2, 3)
"""Rows and their length, of the input that tells what a model returns."""


def choose_caller(
    model: nn.Module,
    *,
    call: Callable[..., Any] | None = None,
    vocab_size: int | None = None,
    d_model: int | None = None,
    causal: bool | None = None,
) -> Caller:
    """The caller of a model in evaluation.

    Args:
        model: any module.
        call: a function `call(model, x)` or `call(model, x, mask)`; None: found by the kind of model.
        vocab_size: of a model that reads tokens; None: found.
        d_model: D of a model that reads `(B, L, D)`; None: found.
        causal: whether it is causal; None: as it says.

    Raises:
        ValueError: if what it reads is not found, or it cannot be called with it.
    """
    if call is None and is_pretrained(model):
        return PretrainedCaller(model, causal)
    inputs = _inputs(model, vocab_size, d_model)
    if call is not None:
        found: Caller = FunctionCaller(call, inputs, causal=causal)
        found.pooled = _is_pooled(model, found)
        return found
    if is_own(model):
        return OwnCaller(model, inputs, pooled=_is_pooled(model, PlainCaller(model, inputs)))
    found = PlainCaller(model, inputs, causal=causal)
    found.pooled = _is_pooled(model, found)
    return found


def is_pretrained(model: nn.Module) -> bool:
    """Whether it is a `transformers.PreTrainedModel`, without importing that library."""
    return any(
        base.__name__ == "PreTrainedModel" and base.__module__.startswith("transformers.")
        for base in type(model).__mro__
    )


def _inputs(model: nn.Module, vocab_size: int | None, d_model: int | None) -> Inputs:
    """What a model reads, as said, or as the model shows."""
    if vocab_size is not None and d_model is not None:
        raise ValueError(
            f"vocab_size={vocab_size} and d_model={d_model} both say what the model reads; give vocab_size "
            "for tokens (B, L), or d_model for (B, L, D)"
        )
    if vocab_size is not None:
        return _tokens(vocab_size)
    if d_model is not None:
        return Features(d_model)
    found = _inputs_of_spec(model) or _inputs_of_first_part(model)
    if found is None:
        raise ValueError(
            f"what {type(model).__name__} reads is not known: there is no attribute d_model, and its first "
            "part with parameters is neither an embedding, a linear layer, a norm, nor an attention; give "
            "d_model, or vocab_size, and a function call(model, x, mask) if it is not called as model(x)"
        )
    return found


def _inputs_of_spec(model: nn.Module) -> Inputs | None:
    """What a model of this project reads, as its spec says."""
    embedding: Any = getattr(getattr(model, "spec", None), "embedding", None)
    kind = getattr(embedding, "kind", None)
    if kind == "tokens":
        return _tokens(embedding.vocab_size)
    if kind == "features":
        return Features(embedding.d_input)
    return Features(None) if kind == "scalars" else None


def _inputs_of_first_part(model: nn.Module) -> Inputs | None:
    """What a model reads, as its first part with parameters shows."""
    parts = (part for part in model.modules() if next(part.parameters(recurse=False), None) is not None)
    first = next(parts, model)
    if isinstance(first, nn.Embedding):
        return _tokens(first.num_embeddings)
    width = _width(model, first)
    return None if width is None else Features(width)


def _tokens(vocab_size: int) -> Tokens:
    """Tokens all over a vocabulary whose token 0 is padding."""
    stride = max(vocab_size // (N_KINDS + 1), 1)
    ids = tuple(range(vocab_size))[::stride]
    return Tokens(ids[1 : N_KINDS + 1] or ids[:1], padding=0)


def _width(model: nn.Module, first: nn.Module) -> int | None:
    """D, as an attribute of the model or its first part with parameters says."""
    for value in (getattr(model, "d_model", None), input_width(first), getattr(first, "embed_dim", None)):
        if isinstance(value, int):
            return value
    shape = getattr(first, "normalized_shape", None)
    return shape[-1] if shape else None


def _is_pooled(model: nn.Module, caller: Caller) -> bool:
    """Whether there is one result per row, and not one per element.

    Raises:
        ValueError: if the model cannot be called, or returns something else.
    """
    names = {"torch": torch, "model": model, **caller.names}
    setup = (*caller.inputs.setup("float"), f"x = {caller.inputs.tensor(sample(caller.inputs, *_SHAPE))}")
    try:
        with torch.no_grad():
            exec("\n".join(setup), names)
            y = eval(caller.forward(), names)
    except Exception as error:
        raise ValueError(
            f"{type(model).__name__} cannot be called as {caller.forward()} with x = {setup[-1][4:]} "
            f"({type(error).__name__}: {error}); give a function call(model, x, mask) that calls it, and "
            "vocab_size or d_model for x"
        ) from error
    if not isinstance(y, Tensor) or not y.is_floating_point() or y.dim() not in (2, 3) or len(y) != _SHAPE[0]:
        returned = f"a tensor of {tuple(y.shape)}" if isinstance(y, Tensor) else type(y).__name__
        raise ValueError(
            f"{caller.forward()} returns {returned} for {_SHAPE[0]} rows of {_SHAPE[1]} elements, but "
            "(B, L, K), or (B, K), is needed; give a function call(model, x, mask) that returns it"
        )
    if y.dim() == 3 and y.shape[1] != _SHAPE[1]:
        raise ValueError(
            f"{caller.forward()} returns {tuple(y.shape)} for rows of {_SHAPE[1]} elements; a result per "
            "element is needed, or one per row; give a function call(model, x, mask) that returns it"
        )
    return y.dim() == 2
