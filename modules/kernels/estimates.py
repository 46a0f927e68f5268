"""Times to expect of kernels, from the bytes they move, their operations and the limits of a chip."""

from dataclasses import dataclass

import torch

from sma.modules.kernels.attention_op import attention_blocks, attention_widths
from sma.modules.kernels.cubins import Chip
from sma.modules.kernels.recurrence_op import CHUNK
from sma.modules.kernels.scan_op import CHUNK as SCAN_CHUNK
from sma.modules.kernels.scan_op import WIDTH


@dataclass(frozen=True)
class Work:
    """What a kernel does.

    Attributes:
        memory: bytes to and from the GPU's memory.
        half: operations of matrix products in bfloat16; a multiply-add counts as 2.
        single: operations of matrix products in float32, three of tf32 each.
        vector: operations in float32 outside of matrix products.
    """

    memory: float
    half: float = 0.0
    single: float = 0.0
    vector: float = 0.0

    def __add__(self, other: "Work") -> "Work":
        mine, others = vars(self), vars(other)
        return Work(**{name: mine[name] + others[name] for name in mine})

    def seconds(self, chip: Chip) -> float:
        """At the chip's limits: memory beside operations, tensor cores beside the others.

        tf32 runs at half the rate of bfloat16.
        """
        products = self.half / chip.half + 3 * self.single / (chip.half / 2)
        return max(self.memory / chip.bandwidth, products, self.vector / chip.single)


def attention_work(
    n_slots: int, n_heads: int, d_qk: int, d_v: int, window: int, dtype: torch.dtype, *, backward: bool
) -> Work:
    """Of one direction. Keys of neighbouring blocks are read from the cache."""
    blocks, bytes_each = attention_blocks(dtype), dtype.itemsize
    pairs = n_slots * n_heads * (-(-(window + blocks.block) // blocks.step) * blocks.step)
    widths = attention_widths(dtype)
    width = next((w for w in widths if w >= max(d_qk, d_v)), widths[-1])
    per_qk, per_v = -(-d_qk // width), -(-d_v // width)
    elements = n_slots * n_heads * bytes_each
    if backward:  # gradients of queries, of keys and of values each compute the scores again
        products = 2 * (per_qk * (d_qk + d_v) + d_qk) + per_v * d_qk + d_v
        memory = elements * (3 * (2 * d_qk + d_v) + 3 * d_v + 2 * d_qk + d_v)
        vector = pairs * 12 * (2 * per_qk + per_v)
    else:
        products, memory = per_v * d_qk + d_v, elements * (2 * d_qk + 2 * d_v)
        vector = pairs * 12 * per_v
    operations = 2.0 * pairs * products
    if dtype == torch.float32:
        return Work(memory, single=operations, vector=vector)
    return Work(memory, half=operations, vector=vector)


def recurrence_work(n_elements: int, d_model: int, d_state: int, *, complex: bool, backward: bool) -> Work:
    """Of one direction: x is read twice, and states between chunks are written and read twice."""
    parts = 2 if complex else 1
    size, states = 4.0 * n_elements * d_model, d_state * parts / CHUNK
    operations = n_elements * d_model * d_state
    forward = Work(size * (3 + 4 * states), vector=operations * (24.0 if complex else 8.0))
    if not backward:
        return forward
    modes = Work(size * (3 + 12 * states), vector=operations * (52.0 if complex else 16.0))
    return forward + modes


def scan_work(n_elements: int, n_heads: int, d_head: int, d_state: int, *, backward: bool) -> Work:
    """Chunks, their states, and in the backward pass three gradients of the same form."""
    size = 4.0 * n_elements * n_heads
    states = size * d_head * d_state / SCAN_CHUNK

    def outputs(d_in: int, d_out: int) -> Work:
        n_blocks = -(-d_out // WIDTH)
        operations = 2.0 * n_elements * n_heads * (SCAN_CHUNK * (n_blocks * d_in + d_out) + d_in * d_out)
        return Work(size * (2 * d_in + 2 * d_out) + states, single=operations)

    sums = Work(size * (d_head + d_state) + 4 * states, single=2.0 * n_elements * n_heads * d_head * d_state)
    work = sums + outputs(d_state, d_head)
    if not backward:
        return work
    return sums + outputs(d_state, d_head) + outputs(d_head, d_state) + outputs(d_head, d_state)


def compaction_share(d_model: int, d_qk: int, d_hidden: int, active: float) -> float:
    """The share of the bytes of a SeqBoat layer that gathering and scattering inside of products would save.

    Per active element x is gathered (read, written) and read by the projections, which write queries, keys,
    values and gates; attention reads three and writes one; gates multiply; the last product reads that and
    writes x, which is scattered (read, written). Per element of the row some 21 passes over D remain: norm,
    moving average in float32, activation, router, weighting and sums.

    Args:
        d_model: D.
        d_qk: of the attention, one head.
        d_hidden: of values and gates.
        active: the share of elements that activate attention.
    """
    attention = 2 * (2 * d_qk + d_hidden) + d_hidden
    unit = 3 * d_model + 2 * d_hidden + attention + 3 * d_hidden + 3 * d_model
    return active * 4 * d_model / (21 * d_model + active * unit)
