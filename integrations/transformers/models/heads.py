"""Kinds of heads by what they score: the next token, rows or elements."""

from typing import Literal

import torch

from sma.architectures.models.sequence import SequenceModel

Scored = Literal["next tokens", "rows", "elements"]


def scored(model: SequenceModel) -> tuple[Scored, int]:
    """What the head of a model scores, and of how many classes.

    Raises:
        ValueError: if the head reads pairs of documents, or gives something else.
    """
    head, spec = model.head, model.spec.head
    n_documents = getattr(spec, "n_documents", 1)
    if n_documents != 1:
        raise ValueError(
            f"head.n_documents={n_documents}: transformers' classes read one text per row; put the model on "
            "the Hub with sma.transformers.hub.push"
        )
    like = next(iter(model.parameters()))
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        shape = head(like.new_zeros(1, 2, model.spec.d_model)).shape
    if len(shape) == 3 and shape[1] == 2:
        return "next tokens" if needs_causal(model) else "elements", shape[-1]
    if len(shape) == 2:
        return "rows", shape[-1]
    raise ValueError(
        f"head.kind={spec.kind!r} gives {tuple(shape)} for two elements of a row, but transformers' classes "
        "need (B, L, C) or (B, C); use a head of kind classifier or node_classifier"
    )


def needs_causal(model: SequenceModel) -> bool:
    """Whether the head of a model predicts the next token."""
    return bool(getattr(model.head, "needs_causal", model.spec.head.needs_causal))
