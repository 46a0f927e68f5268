"""Triton kernels of the diagonal recurrence: the states between chunks, outputs, and gradients of the modes.

A program runs one chunk of one row for some channels and modes, element by element, with the states in
registers. First every chunk runs from a zero state, then a scan over chunks makes of what they end in the
states that they begin with, then every chunk runs again from there.

States are planes `(S, D)`: real and imaginary part, and of the derivative v of a state h by the logarithm of
its decay a, which runs beside it: v_t = a (v_{t-1} + h_{t-1}). Decays come as a - 1, for near 1 they would
lose their digits.
"""

import triton
import triton.language as tl


@triton.jit
def _plane(base_ptr, plane, block_s, block_d, n_modes, d_model, stride):
    """A plane of something `(planes, ..., S, D)`."""
    place = plane * stride + block_s[:, None] * d_model + block_d[None, :]
    inside = (block_s < n_modes)[:, None] & (block_d < d_model)[None, :]
    return tl.load(base_ptr + place, mask=inside, other=0.0)


@triton.jit
def _put(base_ptr, plane, value, block_s, block_d, n_modes, d_model, stride):
    """Store what `_plane` loads."""
    place = plane * stride + block_s[:, None] * d_model + block_d[None, :]
    inside = (block_s < n_modes)[:, None] & (block_d < d_model)[None, :]
    tl.store(base_ptr + place, value, mask=inside)


@triton.jit
def _input(x_ptr, time, block_d, length, d_model, REVERSE: tl.constexpr):
    """The input at a time of a row, 0 outside; in reverse time 0 is the last element."""
    position = length - 1 - time if REVERSE else time
    times = time + 0 * block_d
    inside = (block_d < d_model) & (times >= 0) & (times < length)
    return tl.load(x_ptr + position * d_model + block_d, mask=inside, other=0.0)[None, :]


@triton.jit
def _advance(
    h_re, h_im, v_re, v_im, x, leaving, growth_re, growth_im, forgotten_re, forgotten_im, truncation,
    COMPLEX: tl.constexpr, SENSITIVE: tl.constexpr, TRUNCATED: tl.constexpr,
):  # fmt: skip
    """One element: h + (x + (a - 1) h), small terms first, or they are lost; and the same of v."""
    if SENSITIVE:
        w_re = v_re + h_re
        if COMPLEX:
            w_im = v_im + h_im
            v_re = w_re + (growth_re * w_re - growth_im * w_im)
            v_im = w_im + (growth_re * w_im + growth_im * w_re)
        else:
            v_re = w_re + growth_re * w_re
        if TRUNCATED:
            v_re -= truncation * forgotten_re * leaving
            if COMPLEX:
                v_im -= truncation * forgotten_im * leaving
    change_re = growth_re * h_re + x
    if COMPLEX:
        change_re -= growth_im * h_im
        change_im = growth_re * h_im + growth_im * h_re
        if TRUNCATED:
            change_im -= forgotten_im * leaving
        h_im += change_im
    if TRUNCATED:
        change_re -= forgotten_re * leaving
    h_re += change_re
    return h_re, h_im, v_re, v_im


@triton.jit
def chunk_states_kernel(
    x_ptr, modes_ptr, sums_ptr, length, d_model, n_modes, n_chunks, truncation,
    COMPLEX: tl.constexpr, SENSITIVE: tl.constexpr, TRUNCATED: tl.constexpr, REVERSE: tl.constexpr,
    CHUNK: tl.constexpr, BLOCK_S: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """What every chunk adds to the states: those after it, from zero before it."""
    piece, block = tl.program_id(0), tl.program_id(1)
    row, chunk = piece // n_chunks, piece % n_chunks
    block_d = block * BLOCK_D + tl.arange(0, BLOCK_D)
    block_s = tl.program_id(2) * BLOCK_S + tl.arange(0, BLOCK_S)
    x_ptr += row.to(tl.int64) * length * d_model
    size = n_modes * d_model
    growth_re = _plane(modes_ptr, 0, block_s, block_d, n_modes, d_model, size)
    growth_im = _plane(modes_ptr, 1, block_s, block_d, n_modes, d_model, size) if COMPLEX else growth_re
    forgotten_re = _plane(modes_ptr, 4, block_s, block_d, n_modes, d_model, size) if TRUNCATED else growth_re
    forgotten_im = (
        _plane(modes_ptr, 5, block_s, block_d, n_modes, d_model, size) if TRUNCATED and COMPLEX else growth_re
    )
    h_re = tl.zeros((BLOCK_S, BLOCK_D), tl.float32)
    h_im, v_re, v_im = h_re, h_re, h_re
    for time in range(chunk * CHUNK, tl.minimum(chunk * CHUNK + CHUNK, length)):
        x = _input(x_ptr, time, block_d, length, d_model, REVERSE)
        leaving = _input(x_ptr, time - truncation, block_d, length, d_model, REVERSE) if TRUNCATED else x
        h_re, h_im, v_re, v_im = _advance(
            h_re, h_im, v_re, v_im, x, leaving, growth_re, growth_im, forgotten_re, forgotten_im, truncation,
            COMPLEX, SENSITIVE, TRUNCATED,
        )  # fmt: skip
    stride = tl.num_programs(0).to(tl.int64) * size
    sums_ptr += piece.to(tl.int64) * size
    _put(sums_ptr, 0, h_re, block_s, block_d, n_modes, d_model, stride)
    if COMPLEX:
        _put(sums_ptr, 1, h_im, block_s, block_d, n_modes, d_model, stride)
    if SENSITIVE:
        _put(sums_ptr, 2, v_re, block_s, block_d, n_modes, d_model, stride)
        if COMPLEX:
            _put(sums_ptr, 3, v_im, block_s, block_d, n_modes, d_model, stride)


@triton.jit
def carry_kernel(
    sums_ptr, modes_ptr, initial_ptr, n_states, n_chunks,
    COMPLEX: tl.constexpr, SENSITIVE: tl.constexpr, INITIAL: tl.constexpr, CHUNK: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """From what every chunk adds to the states to the states before it, in place."""
    row, block = tl.program_id(0), tl.program_id(1)
    state = block * BLOCK + tl.arange(0, BLOCK)
    inside = state < n_states
    decay_re = tl.load(modes_ptr + 6 * n_states + state, mask=inside, other=0.0)
    decay_im = tl.load(modes_ptr + 7 * n_states + state, mask=inside, other=0.0) if COMPLEX else decay_re
    stride = tl.num_programs(0).to(tl.int64) * n_chunks * n_states
    h_re = tl.zeros((BLOCK,), tl.float32)
    h_im, v_re, v_im = h_re, h_re, h_re
    if INITIAL:
        h_re = tl.load(initial_ptr + row.to(tl.int64) * n_states + state, mask=inside, other=0.0)
        if COMPLEX:
            imaginary = initial_ptr + (tl.num_programs(0) + row).to(tl.int64) * n_states
            h_im = tl.load(imaginary + state, mask=inside, other=0.0)
    for chunk in range(0, n_chunks):
        here = sums_ptr + (row.to(tl.int64) * n_chunks + chunk) * n_states + state
        if SENSITIVE:
            added = tl.load(here + 2 * stride, mask=inside, other=0.0)
            tl.store(here + 2 * stride, v_re, mask=inside)
            w_re = v_re + CHUNK * h_re
            if COMPLEX:
                w_im = v_im + CHUNK * h_im
                added_im = tl.load(here + 3 * stride, mask=inside, other=0.0)
                tl.store(here + 3 * stride, v_im, mask=inside)
                v_re = added + decay_re * w_re - decay_im * w_im
                v_im = added_im + decay_re * w_im + decay_im * w_re
            else:
                v_re = added + decay_re * w_re
        added = tl.load(here, mask=inside, other=0.0)
        tl.store(here, h_re, mask=inside)
        if COMPLEX:
            added_im = tl.load(here + stride, mask=inside, other=0.0)
            tl.store(here + stride, h_im, mask=inside)
            next_re = added + decay_re * h_re - decay_im * h_im
            h_im = added_im + decay_re * h_im + decay_im * h_re
            h_re = next_re
        else:
            h_re = added + decay_re * h_re


@triton.jit
def chunk_outputs_kernel(
    x_ptr, modes_ptr, states_ptr, y_ptr, length, d_model, n_modes, n_chunks, truncation,
    COMPLEX: tl.constexpr, TRUNCATED: tl.constexpr, REVERSE: tl.constexpr,
    CHUNK: tl.constexpr, BLOCK_S: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """The outputs of every chunk from the states before it; one addend for each block of modes."""
    piece, block = tl.program_id(0), tl.program_id(1)
    row, chunk = piece // n_chunks, piece % n_chunks
    block_d = block * BLOCK_D + tl.arange(0, BLOCK_D)
    block_s = tl.program_id(2) * BLOCK_S + tl.arange(0, BLOCK_S)
    x_ptr += row.to(tl.int64) * length * d_model
    y_ptr += (tl.program_id(2) * (tl.num_programs(0) // n_chunks) + row).to(tl.int64) * length * d_model
    size = n_modes * d_model
    growth_re = _plane(modes_ptr, 0, block_s, block_d, n_modes, d_model, size)
    growth_im = _plane(modes_ptr, 1, block_s, block_d, n_modes, d_model, size) if COMPLEX else growth_re
    gain_re = _plane(modes_ptr, 2, block_s, block_d, n_modes, d_model, size)
    gain_im = _plane(modes_ptr, 3, block_s, block_d, n_modes, d_model, size) if COMPLEX else gain_re
    forgotten_re = _plane(modes_ptr, 4, block_s, block_d, n_modes, d_model, size) if TRUNCATED else growth_re
    forgotten_im = (
        _plane(modes_ptr, 5, block_s, block_d, n_modes, d_model, size) if TRUNCATED and COMPLEX else growth_re
    )
    stride = tl.num_programs(0).to(tl.int64) * size
    states_ptr += piece.to(tl.int64) * size
    h_re = _plane(states_ptr, 0, block_s, block_d, n_modes, d_model, stride)
    h_im = _plane(states_ptr, 1, block_s, block_d, n_modes, d_model, stride) if COMPLEX else h_re
    for time in range(chunk * CHUNK, tl.minimum(chunk * CHUNK + CHUNK, length)):
        x = _input(x_ptr, time, block_d, length, d_model, REVERSE)
        leaving = _input(x_ptr, time - truncation, block_d, length, d_model, REVERSE) if TRUNCATED else x
        h_re, h_im, _, _ = _advance(
            h_re, h_im, h_re, h_im, x, leaving, growth_re, growth_im, forgotten_re, forgotten_im, truncation,
            COMPLEX, False, TRUNCATED,
        )  # fmt: skip
        read = gain_re * h_re
        if COMPLEX:
            read -= gain_im * h_im
        position = length - 1 - time if REVERSE else time
        tl.store(y_ptr + position * d_model + block_d, tl.sum(read, 0), mask=block_d < d_model)


@triton.jit
def chunk_gradients_kernel(
    x_ptr, grad_ptr, modes_ptr, states_ptr, grads_ptr, length, d_model, n_modes, n_chunks, truncation,
    COMPLEX: tl.constexpr, TRUNCATED: tl.constexpr, REVERSE: tl.constexpr,
    CHUNK: tl.constexpr, BLOCK_S: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """Of every chunk the gradient of the gains, and that of the logarithms of the decays."""
    piece, block = tl.program_id(0), tl.program_id(1)
    row, chunk = piece // n_chunks, piece % n_chunks
    block_d = block * BLOCK_D + tl.arange(0, BLOCK_D)
    block_s = tl.program_id(2) * BLOCK_S + tl.arange(0, BLOCK_S)
    x_ptr += row.to(tl.int64) * length * d_model
    grad_ptr += row.to(tl.int64) * length * d_model
    size = n_modes * d_model
    growth_re = _plane(modes_ptr, 0, block_s, block_d, n_modes, d_model, size)
    growth_im = _plane(modes_ptr, 1, block_s, block_d, n_modes, d_model, size) if COMPLEX else growth_re
    forgotten_re = _plane(modes_ptr, 4, block_s, block_d, n_modes, d_model, size) if TRUNCATED else growth_re
    forgotten_im = (
        _plane(modes_ptr, 5, block_s, block_d, n_modes, d_model, size) if TRUNCATED and COMPLEX else growth_re
    )
    stride = tl.num_programs(0).to(tl.int64) * size
    states_ptr += piece.to(tl.int64) * size
    h_re = _plane(states_ptr, 0, block_s, block_d, n_modes, d_model, stride)
    h_im = _plane(states_ptr, 1, block_s, block_d, n_modes, d_model, stride) if COMPLEX else h_re
    v_re = _plane(states_ptr, 2, block_s, block_d, n_modes, d_model, stride)
    v_im = _plane(states_ptr, 3, block_s, block_d, n_modes, d_model, stride) if COMPLEX else v_re
    h_sum_re = tl.zeros((BLOCK_S, BLOCK_D), tl.float32)
    h_sum_im, v_sum_re, v_sum_im = h_sum_re, h_sum_re, h_sum_re
    for time in range(chunk * CHUNK, tl.minimum(chunk * CHUNK + CHUNK, length)):
        x = _input(x_ptr, time, block_d, length, d_model, REVERSE)
        leaving = _input(x_ptr, time - truncation, block_d, length, d_model, REVERSE) if TRUNCATED else x
        h_re, h_im, v_re, v_im = _advance(
            h_re, h_im, v_re, v_im, x, leaving, growth_re, growth_im, forgotten_re, forgotten_im, truncation,
            COMPLEX, True, TRUNCATED,
        )  # fmt: skip
        grad = _input(grad_ptr, time, block_d, length, d_model, REVERSE)
        h_sum_re += grad * h_re
        v_sum_re += grad * v_re
        if COMPLEX:
            h_sum_im += grad * h_im
            v_sum_im += grad * v_im
    gain_re = _plane(modes_ptr, 2, block_s, block_d, n_modes, d_model, size)
    grads_ptr += piece.to(tl.int64) * size
    _put(grads_ptr, 0, h_sum_re, block_s, block_d, n_modes, d_model, stride)
    if COMPLEX:  # conj(h), and conj(gain v)
        gain_im = _plane(modes_ptr, 3, block_s, block_d, n_modes, d_model, size)
        of_decay = gain_re * v_sum_re - gain_im * v_sum_im
        _put(grads_ptr, 1, -h_sum_im, block_s, block_d, n_modes, d_model, stride)
        _put(grads_ptr, 2, of_decay, block_s, block_d, n_modes, d_model, stride)
        of_decay = -(gain_re * v_sum_im + gain_im * v_sum_re)
        _put(grads_ptr, 3, of_decay, block_s, block_d, n_modes, d_model, stride)
    else:
        _put(grads_ptr, 2, gain_re * v_sum_re, block_s, block_d, n_modes, d_model, stride)
