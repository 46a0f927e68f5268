"""Tiled attention as one operation of compiled code, which else would unroll its tiles for one length."""

from typing import Any

import torch
from torch import Tensor

from sma.modules.attention_functions import attention_function
from sma.modules.tiled_attention import Lists, Rule, attend, attend_backward


@torch.library.custom_op("sma::tiled_attention", mutates_args=())
def attention_op(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    row: Tensor,
    position: Tensor,
    ptr: Tensor,
    table: Tensor | None,
    seed: Tensor | None,
    window: int | None,
    bidirectional: bool,
    function: str,
    first: int,
    by_rank: bool,
    dropout: float,
) -> Tensor:
    """`tiled_attention` with the fields of `Lists` and `Rule`, the function by its name."""
    rule = Rule(window, bidirectional, attention_function(function), first, by_rank, dropout)
    with torch.autocast(q.device.type, enabled=False):
        return attend(q, k, v, Lists(row, position, ptr, table, seed), rule)


@torch.library.custom_op("sma::tiled_attention_backward", mutates_args=())
def _backward_op(
    grad: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    row: Tensor,
    position: Tensor,
    ptr: Tensor,
    table: Tensor | None,
    seed: Tensor | None,
    window: int | None,
    bidirectional: bool,
    function: str,
    first: int,
    by_rank: bool,
    dropout: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    rule = Rule(window, bidirectional, attention_function(function), first, by_rank, dropout)
    with torch.autocast(q.device.type, enabled=False):
        grads = attend_backward(grad, q, k, v, Lists(row, position, ptr, table, seed), rule)
    grad_q, grad_k, grad_v, grad_table = (x.contiguous() for x in grads)
    return grad_q, grad_k, grad_v, grad_table


@attention_op.register_fake
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


attention_op.register_autograd(_backward, setup_context=_setup_context)
