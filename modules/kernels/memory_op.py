"""A decoding step of the working memory by a Triton kernel, as an operation for torch.compile."""

from typing import Any

import torch
from torch import Tensor

from sma.modules.kernels.attention_op import FUNCTIONS
from sma.modules.kernels.choice import on_device_of
from sma.modules.kernels.options import OPTIONS

STEP, WIDTH = 16, 64
"""Slots, and columns of keys and values, that a program looks at at a time."""


@torch.library.custom_op(
    "sma::memory_step",
    mutates_args=("keys", "values", "places"),
    schema="(Tensor q, Tensor k, Tensor v, Tensor(a!) keys, Tensor(b!) values, Tensor(c!) places, "
    "Tensor count, Tensor owner, Tensor row, Tensor position, Tensor? table, int first, bool by_rank, "
    "str function, float scale) -> Tensor",
)
def memory_step(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    keys: Tensor,
    values: Tensor,
    places: Tensor,
    count: Tensor,
    owner: Tensor,
    row: Tensor,
    position: Tensor,
    table: Tensor | None,
    first: int,
    by_rank: bool,
    function: str,
    scale: float,
) -> Tensor:
    """Remember at most one element per row, and attend to what is remembered of its row.

    Args:
        q: `(T, H, d_qk)`.
        k: `(T, H, d_qk)`.
        v: `(T, H, d_v)`.
        keys: `(B, W + 1, H, d_qk)`, the memory; contiguous, as are the next two.
        values: `(B, W + 1, H, d_v)`.
        places: `(B, W + 1)` long; the positions of what is remembered.
        count: `(B,)` long; how many elements each row had before; not advanced.
        owner: `(T,)` long; whose memory each slot uses.
        row: `(T,)` long; -1 where there is no element, and nothing is remembered.
        position: `(T,)` long.
        table: `(n,)`, the bias.
        first: the offset of its first entry.
        by_rank: whether it counts ranks.
        function: softmax, relu2 or laplace.
        scale: of the scores.

    Returns:
        `(T, H, d_v)`.
    """
    from sma.modules.kernels import memory_kernels as kernels

    y, (n_slots, n_heads, d_v) = torch.empty_like(v, memory_format=torch.contiguous_format), v.shape
    if not n_slots:
        return y
    bias = 0 if table is None else 1 if by_rank else 2
    entries = count if table is None else table.float()
    with on_device_of(q):
        kernels.memory_kernel[(n_slots, n_heads, -(-d_v // WIDTH))](
            q.contiguous(), k.contiguous(), v.contiguous(), keys, values, places, count, owner, row, position,
            entries, y, keys.shape[1], n_heads, q.shape[2], d_v, scale, first, len(entries),
            **memory_constants(function, bias),
        )  # fmt: skip
    return y


@memory_step.register_fake
def _(q: Tensor, k: Tensor, v: Tensor, *_: Any) -> Tensor:
    return v.new_empty(v.shape)


def memory_constants(function: str, bias: int) -> dict[str, Any]:
    """What the kernel is compiled for: a function, and no bias, one by rank or one by position (0, 1, 2)."""
    fixed = {"FUNCTION": FUNCTIONS[function], "BIAS": bias, "STEP": STEP, "WIDTH": WIDTH}
    return {**fixed, "num_warps": 4, **OPTIONS}
