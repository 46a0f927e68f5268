"""Tiled attention as one operation of compiled code, which else would unroll its tiles for one length."""

from typing import Any

import torch
from torch import Tensor

from sma.modules.attention.functions import AttentionRule, attention_function
from sma.modules.attention.positions import OffsetBias
from sma.modules.attention.tiled import Lists, attend, attend_backward
from sma.modules.functional import without_autocast

_FIELDS = (
    "Tensor row, Tensor position, Tensor ptr, Tensor? table, Tensor? seed, int first, bool by_rank, "
    "int? window, bool bidirectional, str function, float dropout"
)
"""Those of `Lists`, of its bias, and of `AttentionRule`, the function by its name."""


def compiled_attention(q: Tensor, k: Tensor, v: Tensor, lists: Lists, rule: AttentionRule) -> Tensor:
    """`tiled_attention` as one operation; the function must have a name."""
    bias, function = lists.bias, rule.function.name
    table, first, by_rank = (None, 0, False) if bias is None else (bias.values, bias.first, bias.by_rank)
    tensors = (lists.row, lists.position, lists.ptr, table, lists.seed)
    y: Tensor = _op(
        q, k, v, *tensors, first, by_rank, rule.window, rule.bidirectional, function, rule.dropout
    )
    return y


def _lists_and_rule(*fields: Any) -> tuple[Lists, AttentionRule]:
    row, position, ptr, table, seed, first, by_rank, window, bidirectional, function, dropout = fields
    bias = None if table is None else OffsetBias(table, first, by_rank=by_rank)
    rule = AttentionRule(window, bidirectional, attention_function(function), dropout)
    return Lists(row, position, ptr, bias, seed), rule


@torch.library.custom_op(
    "sma::tiled_attention", mutates_args=(), schema=f"(Tensor q, Tensor k, Tensor v, {_FIELDS}) -> Tensor"
)
def _op(q: Tensor, k: Tensor, v: Tensor, *fields: Any) -> Tensor:
    with without_autocast(q.device):
        return attend(q, k, v, *_lists_and_rule(*fields))


@torch.library.custom_op(
    "sma::tiled_attention_backward",
    mutates_args=(),
    schema=f"(Tensor grad, Tensor q, Tensor k, Tensor v, {_FIELDS}) -> (Tensor, Tensor, Tensor, Tensor)",
)
def _backward_op(grad: Tensor, q: Tensor, k: Tensor, v: Tensor, *fields: Any) -> tuple[Tensor, ...]:
    with without_autocast(q.device):
        grads = attend_backward(grad, q, k, v, *_lists_and_rule(*fields))
    return tuple(x.contiguous() for x in grads)


@_op.register_fake
def _(q: Tensor, k: Tensor, v: Tensor, *rest: Any) -> Tensor:
    return v.new_empty(v.shape)


@_backward_op.register_fake
def _(grad: Tensor, q: Tensor, k: Tensor, v: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    table = rest[3]
    shapes = (q.shape, k.shape, v.shape, (0,) if table is None else table.shape)
    return tuple(x.new_empty(shape) for x, shape in zip((q, k, v, q), shapes, strict=True))


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:8])
    ctx.rule = inputs[8:]


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    table = ctx.saved_tensors[6]
    *grads, grad_table = _backward_op(grad, *ctx.saved_tensors, *ctx.rule)
    of_table = None if table is None else grad_table.to(table.dtype)
    return *grads, None, None, None, of_table, None, *[None] * len(ctx.rule)


_op.register_autograd(_backward, setup_context=_setup_context)
