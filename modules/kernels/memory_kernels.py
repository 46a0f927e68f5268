"""The Triton kernel of a decoding step: one element of every row is remembered, and attends to what is."""

import triton
import triton.language as tl

from sma.modules.kernels.attention_kernels import _weights

_LOWEST = tl.constexpr(-1e30)


@triton.jit
def memory_kernel(
    q_ptr, k_ptr, v_ptr, keys_ptr, values_ptr, places_ptr, count_ptr, owner_ptr, row_ptr, position_ptr,
    table_ptr, y_ptr, size, n_heads, d_qk, d_v, scale, first_offset, n_entries,
    FUNCTION: tl.constexpr, BIAS: tl.constexpr, STEP: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """One head of one element: some columns of its result. The first of these programs remember its key.

    The slot of the new element is written by one program while others read it, so they take its key, value
    and position from where they came.
    """
    element, head = tl.program_id(0).to(tl.int64), tl.program_id(1)
    columns = tl.program_id(2) * WIDTH + tl.arange(0, WIDTH)
    owner = tl.load(owner_ptr + element)
    valid = tl.load(row_ptr + element) >= 0
    count = tl.load(count_ptr + owner)
    own = count.to(tl.int32) % size
    position = tl.load(position_ptr + element)
    q_ptr += (element * n_heads + head) * d_qk
    k_ptr += (element * n_heads + head) * d_qk
    new_value = tl.load(v_ptr + (element * n_heads + head) * d_v + columns, mask=columns < d_v, other=0.0)
    keys_ptr += (owner * size * n_heads + head) * d_qk
    values_ptr += (owner * size * n_heads + head) * d_v
    y = tl.zeros((WIDTH,), tl.float32)
    highest = tl.full((1,), _LOWEST, tl.float32)
    total = tl.zeros((1,), tl.float32)
    for start in range(0, size, STEP):
        slot = start + tl.arange(0, STEP)
        age = (own - slot + size) % size
        seen = (slot < size) & (age <= count)
        scores = tl.zeros((STEP,), tl.float32)
        for first in range(0, d_qk, WIDTH):
            column = first + tl.arange(0, WIDTH)
            q = tl.load(q_ptr + column, mask=column < d_qk, other=0.0).to(tl.float32)
            new = tl.load(k_ptr + column, mask=column < d_qk, other=0.0).to(keys_ptr.dtype.element_ty)
            place = keys_ptr + slot[:, None] * n_heads * d_qk + column[None, :]
            k = tl.load(place, mask=(slot < size)[:, None] & (column < d_qk)[None, :], other=0.0)
            k = tl.where((slot == own)[:, None], new[None, :], k)
            scores += tl.sum(k.to(tl.float32) * q[None, :], 1)
        scores *= scale
        if BIAS > 0:
            entry = -age
            if BIAS == 2:
                at = tl.load(places_ptr + owner * size + slot, mask=slot < size, other=0)
                entry = tl.where(slot == own, 0, (at - position).to(tl.int32))
            entry = tl.minimum(tl.maximum(entry - first_offset, 0), n_entries - 1)
            scores += tl.load(table_ptr + entry, mask=seen, other=0.0)
        if FUNCTION == 0:
            scores = tl.where(seen, scores, _LOWEST)
            higher = tl.maximum(highest, tl.max(scores, 0))
            shrunk = tl.exp(highest - higher)
            weights = _weights(scores, seen, higher, FUNCTION)
            total = total * shrunk + tl.sum(weights, 0)
            y *= shrunk
            highest = higher
        else:
            weights = _weights(scores, seen, 0.0, FUNCTION)
        place = values_ptr + slot[:, None] * n_heads * d_v + columns[None, :]
        v = tl.load(place, mask=(slot < size)[:, None] & (columns < d_v)[None, :], other=0.0)
        v = tl.where((slot == own)[:, None], new_value.to(v.dtype)[None, :], v)
        y += tl.sum(weights[:, None] * v.to(tl.float32), 0)
    if FUNCTION == 0:
        y /= total
    tl.store(
        y_ptr + (element * n_heads + head) * d_v + columns, y.to(y_ptr.dtype.element_ty), mask=columns < d_v
    )
    if valid:
        place = values_ptr + own * n_heads * d_v + columns
        tl.store(place, new_value.to(values_ptr.dtype.element_ty), mask=columns < d_v)
        if tl.program_id(2) == 0:
            for first in range(0, d_qk, WIDTH):
                column = first + tl.arange(0, WIDTH)
                new = tl.load(k_ptr + column, mask=column < d_qk, other=0.0)
                place = keys_ptr + own * n_heads * d_qk + column
                tl.store(place, new.to(keys_ptr.dtype.element_ty), mask=column < d_qk)
            if head == 0:
                tl.store(places_ptr + owner * size + own, position)
