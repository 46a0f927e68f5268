"""Windowed attention by torch's flex_attention, which a compiler turns into one fused kernel."""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, flex_attention

from sma.elements import Elements
from sma.modules.attention.functions import AttentionRule
from sma.modules.attention.positions import OffsetBias
from sma.modules.functional import at_least_float32

_BLOCK = 128  # slots per block of the mask, torch's default


def flex_windows(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    elements: Elements,
    rule: AttentionRule,
    bias: OffsetBias | None,
) -> Tensor:
    """`windowed_attention` inside `attention_backend("flex")`; arguments and result as there.

    Raises:
        ValueError: for anything but softmax without dropout, and for float64 anywhere but on CPU.
    """
    if rule.function.name != "softmax" or rule.dropout:
        raise ValueError(
            'attention_backend("flex") computes softmax without dropout only; use attention_backend("tiles") '
            "for other attention functions, and for dropout of attention weights"
        )
    dtype = torch.promote_types(torch.promote_types(q.dtype, k.dtype), v.dtype)
    if dtype == torch.float64 and q.device.type != "cpu":
        raise ValueError(
            f'attention_backend("flex") does not compute in float64 on {q.device.type}; use float32, or '
            'attention_backend("tiles")'
        )
    slot = torch.arange(len(q), device=q.device)
    row = torch.where(elements.valid, elements.row, -1 - slot)  # a padding slot sees itself only
    back = len(q) if rule.window is None else rule.window
    ahead = back if rule.bidirectional else 0

    def is_key(_b: Tensor, _h: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (row[query] == row[key]) & (query - key <= back) & (key - query <= ahead)

    visible = visible_blocks(elements, back, ahead)[None, None]
    mask = BlockMask.from_kv_blocks(
        visible.sum(-1, dtype=torch.int32),
        visible.int().argsort(dim=-1, descending=True, stable=True).int(),
        BLOCK_SIZE=_BLOCK,
        mask_mod=is_key,
        seq_lengths=(len(q), len(q)),
    )
    one_head = q.dim() == 2
    heads = [(z.unsqueeze(1) if one_head else z).transpose(0, 1).unsqueeze(0).to(dtype) for z in (q, k, v)]
    score_mod = None if bias is None else _add(bias, slot if bias.by_rank else elements.position)
    attend = flex_attention if q.device.type == "cpu" or torch.compiler.is_compiling() else _compiled()
    with torch.autocast(q.device.type, enabled=False):
        y: Tensor = attend(*heads, score_mod=score_mod, block_mask=mask)
    y = y.squeeze(0).transpose(0, 1).to(v.dtype)
    return y.squeeze(1) if one_head else y


def visible_blocks(elements: Elements, back: int, ahead: int) -> Tensor:
    """`(n, n)` bool: which blocks may hold a key of a block of queries, by rows and distance.

    Args:
        elements: the slots, cut into n blocks.
        back: by how many slots a key may come before its query.
        ahead: and after it.
    """
    n_slots = len(elements.row)
    first = torch.arange(0, n_slots, _BLOCK, device=elements.row.device)
    last = (first + _BLOCK - 1).clamp(max=n_slots - 1)
    first_row, last_row = (torch.searchsorted(elements.ptr, slot, right=True) for slot in (first, last))
    near = (first[:, None] - last <= back) & (first - last[:, None] <= ahead)
    return near & (first_row <= last_row[:, None]) & (first_row[:, None] <= last_row)


def _add(bias: OffsetBias, place: Tensor) -> Callable[..., Tensor]:
    """A `score_mod` that adds a bias; its offsets are differences of `place (T,)`."""
    table = bias.values.to(at_least_float32(bias.values.dtype))

    def score_mod(score: Tensor, _b: Tensor, _h: Tensor, query: Tensor, key: Tensor) -> Tensor:
        entry = (place[key] - place[query] - bias.first).clamp(0, len(table) - 1)
        return score + table[entry]

    return score_mod


@cache
def _compiled() -> Any:
    return torch.compile(flex_attention)
