"""Triton kernels of the selective scan: what chunks add to states, the states before them, outputs.

Inside a chunk the scan is masked attention with decaying weights; from chunk to chunk matrices of state
travel. The gradients have the same form with other operands, so that the same kernels compute them.
"""

import triton
import triton.language as tl


@triton.jit
def _block(x_ptr, time, column, length, width, stride):
    """`(times, columns)` of `x (L, width)`, 0 outside."""
    place = time.to(tl.int64)[:, None] * stride + column[None, :]
    return tl.load(x_ptr + place, mask=(time < length)[:, None] & (column < width)[None, :], other=0.0)


@triton.jit
def scan_states_kernel(
    a_ptr, b_ptr, log_ptr, states_ptr, totals_ptr, length, n_heads, n_chunks, d_a, d_b, n_blocks_b,
    a_row, a_time, a_head, b_row, b_time, b_head,
    FROM_START: tl.constexpr, CHUNK: tl.constexpr, WIDTH: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Sums over a chunk of a_t b_t^T, each decayed to the end of the chunk, or from its start."""
    piece, head = tl.program_id(0), tl.program_id(1)
    row, chunk = (piece // n_chunks).to(tl.int64), piece % n_chunks
    time = chunk * CHUNK + tl.arange(0, CHUNK)
    log_ptr += (row * length * n_heads) + head
    elapsed = tl.cumsum(tl.load(log_ptr + time * n_heads, mask=time < length, other=0.0), 0)
    total = tl.sum(tl.load(log_ptr + time * n_heads, mask=time < length, other=0.0), 0)
    weight = tl.exp(elapsed) if FROM_START else tl.exp(tl.minimum(total - elapsed, 0.0))
    left = tl.program_id(2) // n_blocks_b * WIDTH + tl.arange(0, WIDTH)
    right = tl.program_id(2) % n_blocks_b * WIDTH + tl.arange(0, WIDTH)
    a = _block(a_ptr + row * a_row + head * a_head, time, left, length, d_a, a_time) * weight[:, None]
    b = _block(b_ptr + row * b_row + head * b_head, time, right, length, d_b, b_time)
    state = tl.dot(tl.trans(a), b, input_precision=PRECISION)
    place = (piece.to(tl.int64) * n_heads + head) * d_a * d_b + left[:, None] * d_b + right[None, :]
    tl.store(states_ptr + place, state, mask=(left < d_a)[:, None] & (right < d_b)[None, :])
    if tl.program_id(2) == 0:
        tl.store(totals_ptr + piece * n_heads + head, total)


@triton.jit
def scan_carry_kernel(
    states_ptr, totals_ptr, first_ptr, last_ptr, before_ptr, final_ptr, of_totals_ptr,
    n_heads, n_chunks, size,
    FIRST: tl.constexpr, REVERSE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """From what chunks add to the states to the states before them (behind them, in reverse), in place.

    In reverse the states are gradients, and their products with the states themselves are those of `totals`.
    """
    row, head, block = tl.program_id(0).to(tl.int64), tl.program_id(1), tl.program_id(2)
    place = block * BLOCK + tl.arange(0, BLOCK)
    inside = place < size
    state = tl.zeros((BLOCK,), tl.float32)
    end = (row * n_heads + head) * size + place
    if FIRST:
        state = tl.load(first_ptr + end, mask=inside, other=0.0)
    if REVERSE:
        after = tl.load(final_ptr + end, mask=inside, other=0.0)
    for step in range(0, n_chunks):
        chunk = n_chunks - 1 - step if REVERSE else step
        piece = (row * n_chunks + chunk) * n_heads + head
        added = tl.load(states_ptr + piece * size + place, mask=inside, other=0.0)
        tl.store(states_ptr + piece * size + place, state, mask=inside)
        if REVERSE:
            rows = tl.num_programs(0).to(tl.int64)
            of_total = of_totals_ptr + block * rows * n_chunks * n_heads + piece
            tl.store(of_total, tl.sum(state * after, 0))
            after = tl.load(before_ptr + piece * size + place, mask=inside, other=0.0)
        state = added + tl.exp(tl.load(totals_ptr + piece)) * state
    tl.store(last_ptr + end, state, mask=inside)


@triton.jit
def scan_outputs_kernel(
    a_ptr, b_ptr, c_ptr, log_ptr, states_ptr, y_ptr, length, n_heads, n_chunks, d_in, d_out,
    a_row, a_time, a_head, b_row, b_time, b_head, c_row, c_time, c_head, state_in, state_out,
    REVERSE: tl.constexpr, CHUNK: tl.constexpr, WIDTH: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Some columns of y_i = sum_j (a_i . b_j) decay(i, j) c_j + decay(i) state a_i, over the j up to i.

    In reverse over the j from i on, and the state is that behind the chunk.
    """
    piece, head = tl.program_id(0), tl.program_id(1)
    row, chunk = (piece // n_chunks).to(tl.int64), piece % n_chunks
    time = chunk * CHUNK + tl.arange(0, CHUNK)
    out = tl.program_id(2) * WIDTH + tl.arange(0, WIDTH)
    a_ptr += row * a_row + head * a_head
    b_ptr += row * b_row + head * b_head
    states_ptr += (piece.to(tl.int64) * n_heads + head) * d_in * d_out
    scores = tl.zeros((CHUNK, CHUNK), tl.float32)
    y = tl.zeros((CHUNK, WIDTH), tl.float32)
    for start in range(0, d_in, WIDTH):
        column = start + tl.arange(0, WIDTH)
        a = _block(a_ptr, time, column, length, d_in, a_time)
        b = _block(b_ptr, time, column, length, d_in, b_time)
        scores = tl.dot(a, tl.trans(b), scores, input_precision=PRECISION)
        inside = (column < d_in)[:, None] & (out < d_out)[None, :]
        state = tl.load(
            states_ptr + column[:, None] * state_in + out[None, :] * state_out, mask=inside, other=0.0
        )
        y = tl.dot(a, state, y, input_precision=PRECISION)
    log_ptr += (row * length * n_heads) + head
    log_decay = tl.load(log_ptr + time * n_heads, mask=time < length, other=0.0)
    elapsed = tl.cumsum(log_decay, 0)
    between = elapsed[:, None] - elapsed[None, :]
    if REVERSE:
        between = -between
        seen = time[:, None] <= time[None, :]
        y *= tl.exp(tl.minimum(tl.sum(log_decay, 0) - elapsed, 0.0))[:, None]
    else:
        seen = time[:, None] >= time[None, :]
        y *= tl.exp(elapsed)[:, None]
    scores *= tl.where(seen, tl.exp(tl.where(seen, between, 0.0)), 0.0)
    c = _block(c_ptr + row * c_row + head * c_head, time, out, length, d_out, c_time)
    y = tl.dot(scores, c, y, input_precision=PRECISION)
    place = ((row * length + time) * n_heads + head)[:, None] * d_out + out[None, :]
    tl.store(y_ptr + place, y, mask=(time < length)[:, None] & (out < d_out)[None, :])
