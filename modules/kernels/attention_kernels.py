"""Triton kernels of windowed attention: forward, and the gradients of queries, keys, values and bias.

A program computes one block of slots of one head. Scores exist for one block of queries and one block of keys
at a time, in registers; the backward pass computes them again. What a program loops over is given by
`ranges_kernel`: the slots within reach of its block that belong to the rows of its first and last slot.
"""

import triton
import triton.language as tl

_LOWEST = tl.constexpr(-1e30)
_MEAN = tl.constexpr(0.707107)
_STD = tl.constexpr(0.282095)
_SQRT2 = tl.constexpr(1.4142135623730951)
_SQRT_2PI = tl.constexpr(2.5066282746310002)


@triton.jit
def ranges_kernel(ptr_ptr, ranges_ptr, n_rows, n_slots, n_blocks, back, ahead, BLOCK: tl.constexpr):
    """For each block of slots the first and the end of its keys, and the first and the end of its queries."""
    block = tl.program_id(0)
    first = block * BLOCK
    last = tl.minimum(first + BLOCK, n_slots) - 1
    first_row = 0
    last_row = 0
    for start in range(0, n_rows, 256):
        row = start + tl.arange(0, 256)
        begins = tl.load(ptr_ptr + row, mask=row < n_rows, other=n_slots)
        first_row += tl.sum((begins <= first).to(tl.int32), 0)
        last_row += tl.sum((begins <= last).to(tl.int32), 0)
    row_start = tl.load(ptr_ptr + first_row - 1).to(tl.int32)
    row_end = tl.load(ptr_ptr + last_row).to(tl.int32)
    tl.store(ranges_ptr + block, tl.maximum(first - back, row_start))
    tl.store(ranges_ptr + n_blocks + block, tl.minimum(last + ahead + 1, row_end))
    tl.store(ranges_ptr + 2 * n_blocks + block, tl.maximum(first - ahead, row_start))
    tl.store(ranges_ptr + 3 * n_blocks + block, tl.minimum(last + back + 1, row_end))


@triton.jit
def _load(x_ptr, slot, column, stride, n_slots, width):
    """A block of `x (T, width)`, 0 outside."""
    place = slot.to(tl.int64)[:, None] * stride + column[None, :]
    return tl.load(x_ptr + place, mask=(slot < n_slots)[:, None] & (column < width)[None, :], other=0.0)


@triton.jit
def _facts(row_ptr, position_ptr, slot, origin, n_slots, nobody, BIAS: tl.constexpr):
    """The rows of slots, `nobody` outside the list, and their positions counted from `origin`."""
    row = tl.load(row_ptr + slot, mask=slot < n_slots, other=nobody).to(tl.int32)
    position = row
    if BIAS:
        position = (tl.load(position_ptr + slot, mask=slot < n_slots, other=0) - origin).to(tl.int32)
    return row, position


@triton.jit
def _biased(
    scores, query, key, query_row, key_row, query_position, key_position,
    table_ptr, first_offset, n_entries, back, ahead, BIAS: tl.constexpr,
):  # fmt: skip
    """The scores with their bias, which pairs see each other, and the entries of the bias table."""
    offset = key - query
    seen = (query_row == key_row) & (offset >= -back) & (offset <= ahead)
    entry = offset
    if BIAS:
        entry = key_position - query_position - first_offset
        entry = tl.minimum(tl.maximum(entry, 0), n_entries - 1)
        scores += tl.load(table_ptr + entry, mask=seen, other=0.0)
    return scores, seen, entry


@triton.jit
def _kept(query, key, head, seed, dropout):
    """The factors of dropout: a function of the seed and of the pair alone."""
    counter = query + 0 * key
    drawn, _, _, _ = tl.philox(seed, counter, key + 0 * query, head + 0 * counter, 0 * counter)
    return tl.where(tl.uint_to_uniform_float(drawn) >= dropout, 1 / (1 - dropout), 0.0)


@triton.jit
def _weights(scores, seen, lse, FUNCTION: tl.constexpr):
    """The attention weights; of softmax given the logarithms of its sums."""
    if FUNCTION == 0:
        weights = tl.exp(scores - lse)
    elif FUNCTION == 1:
        positive = tl.maximum(scores, 0.0)
        weights = positive * positive
    else:
        weights = 0.5 * (1 + tl.erf((scores - _MEAN) / (_STD * _SQRT2)))
    return tl.where(seen, weights, 0.0)


@triton.jit
def _grad_scores(scores, seen, lse, delta, grad, FUNCTION: tl.constexpr):
    """The gradient of the scores, given that of the weights."""
    if FUNCTION == 0:
        grad = tl.exp(scores - lse) * (grad - delta)
    elif FUNCTION == 1:
        grad = 2 * tl.maximum(scores, 0.0) * grad
    else:
        z = (scores - _MEAN) / _STD
        grad = tl.exp(-0.5 * z * z) / (_STD * _SQRT_2PI) * grad
    return tl.where(seen, grad, 0.0)


@triton.jit
def _products(
    a_ptr, a, a_slot, b_ptr, b, b_slot, n_slots, d, BLOCK: tl.constexpr, STEP: tl.constexpr,
    WIDTH: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """The products of the rows `a` of one list with the rows `b` of another, `(BLOCK, STEP)`."""
    product = tl.zeros((BLOCK, STEP), tl.float32)
    for start in range(0, d, WIDTH):
        column = start + tl.arange(0, WIDTH)
        left = _load(a_ptr, a, column, a_slot, n_slots, d)
        right = _load(b_ptr, b, column, b_slot, n_slots, d)
        product = tl.dot(left, tl.trans(right), product, input_precision=PRECISION)
    return product


@triton.jit
def forward_kernel(
    q_ptr, k_ptr, v_ptr, y_ptr, lse_ptr,
    row_ptr, position_ptr, table_ptr, ranges_ptr,
    q_slot, q_head, k_slot, k_head, v_slot, v_head,
    n_slots, n_heads, n_blocks, d_qk, d_v, back, ahead, scale, first_offset, n_entries, seed, dropout,
    FUNCTION: tl.constexpr, BIAS: tl.constexpr, DROPOUT: tl.constexpr, BLOCK: tl.constexpr,
    STEP: tl.constexpr, WIDTH: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """A block of queries: some columns of their results, and the logarithms of the sums of softmax."""
    block, head = tl.program_id(0), tl.program_id(1)
    q_ptr += head * q_head
    k_ptr += head * k_head
    columns = tl.program_id(2) * WIDTH + tl.arange(0, WIDTH)
    query = block * BLOCK + tl.arange(0, BLOCK)
    origin = tl.load(position_ptr + block * BLOCK)
    query_row, query_position = _facts(row_ptr, position_ptr, query, origin, n_slots, -2, BIAS)
    y = tl.zeros((BLOCK, WIDTH), tl.float32)
    highest = tl.full((BLOCK,), _LOWEST, tl.float32)
    total = tl.zeros((BLOCK,), tl.float32)
    for start in range(tl.load(ranges_ptr + block), tl.load(ranges_ptr + n_blocks + block), STEP):
        key = start + tl.arange(0, STEP)
        key_row, key_position = _facts(row_ptr, position_ptr, key, origin, n_slots, -3, BIAS)
        scores = _products(
            q_ptr, query, q_slot, k_ptr, key, k_slot, n_slots, d_qk, BLOCK, STEP, WIDTH, PRECISION
        )
        scores, seen, _ = _biased(
            scores * scale, query[:, None], key[None, :], query_row[:, None], key_row[None, :],
            query_position[:, None], key_position[None, :], table_ptr, first_offset, n_entries,
            back, ahead, BIAS,
        )  # fmt: skip
        if FUNCTION == 0:
            scores = tl.where(seen, scores, _LOWEST)
            higher = tl.maximum(highest, tl.max(scores, 1))
            shrunk = tl.exp(highest - higher)
            weights = _weights(scores, seen, higher[:, None], FUNCTION)
            total = total * shrunk + tl.sum(weights, 1)
            y *= shrunk[:, None]
            highest = higher
        else:
            weights = _weights(scores, seen, 0.0, FUNCTION)
        if DROPOUT:
            weights *= _kept(query[:, None], key[None, :], head, seed, dropout)
        v = _load(v_ptr + head * v_head, key, columns, v_slot, n_slots, d_v)
        y = tl.dot(weights.to(v.dtype), v, y, input_precision=PRECISION)
    if FUNCTION == 0:
        total = tl.where(total == 0, 1.0, total)
        y /= total[:, None]
        if tl.program_id(2) == 0:
            tl.store(lse_ptr + head * n_slots + query, highest + tl.log(total), mask=query < n_slots)
    inside = (query < n_slots)[:, None] & (columns < d_v)[None, :]
    place = (query.to(tl.int64) * n_heads + head)[:, None] * d_v + columns[None, :]
    tl.store(y_ptr + place, y.to(y_ptr.dtype.element_ty), mask=inside)


@triton.jit
def sums_kernel(y_ptr, grad_ptr, delta_ptr, n_slots, n_heads, d_v, BLOCK: tl.constexpr, WIDTH: tl.constexpr):
    """The products of results and their gradients, which every gradient of softmax's scores needs."""
    slot = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    head, stride = tl.program_id(1), n_heads * d_v
    delta = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, d_v, WIDTH):
        column = start + tl.arange(0, WIDTH)
        y = _load(y_ptr + head * d_v, slot, column, stride, n_slots, d_v).to(tl.float32)
        delta += tl.sum(y * _load(grad_ptr + head * d_v, slot, column, stride, n_slots, d_v), 1)
    tl.store(delta_ptr + head * n_slots + slot, delta, mask=slot < n_slots)


@triton.jit
def queries_kernel(
    q_ptr, k_ptr, v_ptr, grad_ptr, lse_ptr, delta_ptr, grad_q_ptr, grad_table_ptr,
    row_ptr, position_ptr, table_ptr, ranges_ptr,
    q_slot, q_head, k_slot, k_head, v_slot, v_head,
    n_slots, n_heads, n_blocks, d_qk, d_v, back, ahead, scale, first_offset, n_entries, seed, dropout,
    n_tables,
    FUNCTION: tl.constexpr, BIAS: tl.constexpr, DROPOUT: tl.constexpr, BLOCK: tl.constexpr,
    STEP: tl.constexpr, WIDTH: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """A block of queries: some columns of their gradients, and the gradient of the bias."""
    block, head = tl.program_id(0), tl.program_id(1)
    q_ptr += head * q_head
    k_ptr += head * k_head
    v_ptr += head * v_head
    grad_ptr += head * d_v
    columns = tl.program_id(2) * WIDTH + tl.arange(0, WIDTH)
    query = block * BLOCK + tl.arange(0, BLOCK)
    origin = tl.load(position_ptr + block * BLOCK)
    query_row, query_position = _facts(row_ptr, position_ptr, query, origin, n_slots, -2, BIAS)
    lse = tl.zeros((BLOCK,), tl.float32)
    delta = tl.zeros((BLOCK,), tl.float32)
    if FUNCTION == 0:
        lse = tl.load(lse_ptr + head * n_slots + query, mask=query < n_slots, other=0.0)
        delta = tl.load(delta_ptr + head * n_slots + query, mask=query < n_slots, other=0.0)
    grad_q = tl.zeros((BLOCK, WIDTH), tl.float32)
    for start in range(tl.load(ranges_ptr + block), tl.load(ranges_ptr + n_blocks + block), STEP):
        key = start + tl.arange(0, STEP)
        key_row, key_position = _facts(row_ptr, position_ptr, key, origin, n_slots, -3, BIAS)
        scores = _products(
            q_ptr, query, q_slot, k_ptr, key, k_slot, n_slots, d_qk, BLOCK, STEP, WIDTH, PRECISION
        )
        scores, seen, entry = _biased(
            scores * scale, query[:, None], key[None, :], query_row[:, None], key_row[None, :],
            query_position[:, None], key_position[None, :], table_ptr, first_offset, n_entries,
            back, ahead, BIAS,
        )  # fmt: skip
        grad = _products(
            grad_ptr, query, n_heads * d_v, v_ptr, key, v_slot, n_slots, d_v, BLOCK, STEP, WIDTH, PRECISION
        )
        if DROPOUT:
            grad *= _kept(query[:, None], key[None, :], head, seed, dropout)
        grad = _grad_scores(scores, seen, lse[:, None], delta[:, None], grad, FUNCTION)
        if BIAS:
            table = grad_table_ptr + (block % n_tables) * n_entries
            counted = seen & (query * 0 + tl.program_id(2) == 0)[:, None]  # once for all columns
            tl.atomic_add(table + entry, grad, mask=counted, sem="relaxed")
        k = _load(k_ptr, key, columns, k_slot, n_slots, d_qk)
        grad_q = tl.dot(grad.to(k.dtype), k, grad_q, input_precision=PRECISION)
    grad_q *= scale
    inside = (query < n_slots)[:, None] & (columns < d_qk)[None, :]
    place = (query.to(tl.int64) * n_heads + head)[:, None] * d_qk + columns[None, :]
    tl.store(grad_q_ptr + place, grad_q.to(grad_q_ptr.dtype.element_ty), mask=inside)


@triton.jit
def keys_kernel(
    q_ptr, k_ptr, v_ptr, grad_ptr, lse_ptr, delta_ptr, grad_k_ptr,
    row_ptr, position_ptr, table_ptr, ranges_ptr,
    q_slot, q_head, k_slot, k_head, v_slot, v_head,
    n_slots, n_heads, n_blocks, d_qk, d_v, back, ahead, scale, first_offset, n_entries, seed, dropout,
    FUNCTION: tl.constexpr, BIAS: tl.constexpr, DROPOUT: tl.constexpr, BLOCK: tl.constexpr,
    STEP: tl.constexpr, WIDTH: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """A block of keys: some columns of their gradients. Scores are transposed, (keys, queries)."""
    block, head = tl.program_id(0), tl.program_id(1)
    q_ptr += head * q_head
    k_ptr += head * k_head
    v_ptr += head * v_head
    grad_ptr += head * d_v
    columns = tl.program_id(2) * WIDTH + tl.arange(0, WIDTH)
    key = block * BLOCK + tl.arange(0, BLOCK)
    origin = tl.load(position_ptr + block * BLOCK)
    key_row, key_position = _facts(row_ptr, position_ptr, key, origin, n_slots, -3, BIAS)
    grad_k = tl.zeros((BLOCK, WIDTH), tl.float32)
    first = tl.load(ranges_ptr + 2 * n_blocks + block)
    for start in range(first, tl.load(ranges_ptr + 3 * n_blocks + block), STEP):
        query = start + tl.arange(0, STEP)
        query_row, query_position = _facts(row_ptr, position_ptr, query, origin, n_slots, -2, BIAS)
        scores = _products(
            k_ptr, key, k_slot, q_ptr, query, q_slot, n_slots, d_qk, BLOCK, STEP, WIDTH, PRECISION
        )
        scores, seen, _ = _biased(
            scores * scale, query[None, :], key[:, None], query_row[None, :], key_row[:, None],
            query_position[None, :], key_position[:, None], table_ptr, first_offset, n_entries,
            back, ahead, BIAS,
        )  # fmt: skip
        lse = tl.zeros((STEP,), tl.float32)
        delta = tl.zeros((STEP,), tl.float32)
        if FUNCTION == 0:
            lse = tl.load(lse_ptr + head * n_slots + query, mask=query < n_slots, other=0.0)
            delta = tl.load(delta_ptr + head * n_slots + query, mask=query < n_slots, other=0.0)
        grad = _products(
            v_ptr, key, v_slot, grad_ptr, query, n_heads * d_v, n_slots, d_v, BLOCK, STEP, WIDTH, PRECISION
        )
        if DROPOUT:
            grad *= _kept(query[None, :], key[:, None], head, seed, dropout)
        grad = _grad_scores(scores, seen, lse[None, :], delta[None, :], grad, FUNCTION)
        q = _load(q_ptr, query, columns, q_slot, n_slots, d_qk)
        grad_k = tl.dot(grad.to(q.dtype), q, grad_k, input_precision=PRECISION)
    grad_k *= scale
    inside = (key < n_slots)[:, None] & (columns < d_qk)[None, :]
    place = (key.to(tl.int64) * n_heads + head)[:, None] * d_qk + columns[None, :]
    tl.store(grad_k_ptr + place, grad_k.to(grad_k_ptr.dtype.element_ty), mask=inside)


@triton.jit
def values_kernel(
    q_ptr, k_ptr, grad_ptr, lse_ptr, grad_v_ptr,
    row_ptr, position_ptr, table_ptr, ranges_ptr,
    q_slot, q_head, k_slot, k_head,
    n_slots, n_heads, n_blocks, d_qk, d_v, back, ahead, scale, first_offset, n_entries, seed, dropout,
    FUNCTION: tl.constexpr, BIAS: tl.constexpr, DROPOUT: tl.constexpr, BLOCK: tl.constexpr,
    STEP: tl.constexpr, WIDTH: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """A block of keys: some columns of the gradients of their values. Scores are transposed."""
    block, head = tl.program_id(0), tl.program_id(1)
    q_ptr += head * q_head
    k_ptr += head * k_head
    columns = tl.program_id(2) * WIDTH + tl.arange(0, WIDTH)
    key = block * BLOCK + tl.arange(0, BLOCK)
    origin = tl.load(position_ptr + block * BLOCK)
    key_row, key_position = _facts(row_ptr, position_ptr, key, origin, n_slots, -3, BIAS)
    grad_v = tl.zeros((BLOCK, WIDTH), tl.float32)
    first = tl.load(ranges_ptr + 2 * n_blocks + block)
    for start in range(first, tl.load(ranges_ptr + 3 * n_blocks + block), STEP):
        query = start + tl.arange(0, STEP)
        query_row, query_position = _facts(row_ptr, position_ptr, query, origin, n_slots, -2, BIAS)
        scores = _products(
            k_ptr, key, k_slot, q_ptr, query, q_slot, n_slots, d_qk, BLOCK, STEP, WIDTH, PRECISION
        )
        scores, seen, _ = _biased(
            scores * scale, query[None, :], key[:, None], query_row[None, :], key_row[:, None],
            query_position[None, :], key_position[:, None], table_ptr, first_offset, n_entries,
            back, ahead, BIAS,
        )  # fmt: skip
        lse = tl.zeros((STEP,), tl.float32)
        if FUNCTION == 0:
            lse = tl.load(lse_ptr + head * n_slots + query, mask=query < n_slots, other=0.0)
        weights = _weights(scores, seen, lse[None, :], FUNCTION)
        if DROPOUT:
            weights *= _kept(query[None, :], key[:, None], head, seed, dropout)
        grads = _load(grad_ptr + head * d_v, query, columns, n_heads * d_v, n_slots, d_v)
        grad_v = tl.dot(weights.to(grads.dtype), grads, grad_v, input_precision=PRECISION)
    inside = (key < n_slots)[:, None] & (columns < d_v)[None, :]
    place = (key.to(tl.int64) * n_heads + head)[:, None] * d_v + columns[None, :]
    tl.store(grad_v_ptr + place, grad_v.to(grad_v_ptr.dtype.element_ty), mask=inside)
