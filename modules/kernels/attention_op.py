"""Windowed attention by Triton kernels, as operations that torch.compile takes as they are."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from sma.modules.kernels.choice import on_device_of
from sma.modules.kernels.options import OPTIONS

FUNCTIONS = {"softmax": 0, "relu2": 1, "laplace": 2}
"""The functions that the kernels know, by the number that they know them by."""


class Blocks(NamedTuple):
    """How a kernel cuts its work.

    Attributes:
        block: slots that a program computes.
        step: slots that it looks at at a time.
        n_warps: of 32 threads each.
        n_stages: of the pipeline of loads.
    """

    block: int
    step: int
    n_warps: int
    n_stages: int


def attention_blocks(dtype: torch.dtype) -> Blocks:
    """The cut of all attention kernels: what fits into the registers of a program."""
    return Blocks(32, 16, 4, 1) if dtype == torch.float32 else Blocks(64, 32, 8, 2)


def attention_widths(dtype: torch.dtype) -> tuple[int, ...]:
    """How many columns of the features of a head a program may load at a time."""
    return (32,) if dtype == torch.float32 else (64, 128)


def precision() -> str:
    """How float32 products are computed: as three products of tf32, or as one where torch may do so, too."""
    return "tf32" if torch.backends.cuda.matmul.allow_tf32 else "tf32x3"


_FIELDS = (
    "Tensor row, Tensor position, Tensor ptr, Tensor? table, Tensor? seed, int first, int? window, "
    "bool bidirectional, str function, float scale, float dropout"
)


@torch.library.custom_op(
    "sma::fused_attention",
    mutates_args=(),
    schema=f"(Tensor q, Tensor k, Tensor v, {_FIELDS}) -> (Tensor, Tensor, Tensor)",
)
def fused_attention(q: Tensor, k: Tensor, v: Tensor, *fields: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Attention of a flat list of T slots with H heads.

    Args:
        q: `(T, H, d_qk)` in float32, bfloat16 or float16.
        k: `(T, H, d_qk)` of that dtype.
        v: `(T, H, d_v)` of that dtype.
        fields: `row (T,)` long; `position (T,)` long, what the bias counts by; `ptr (B + 1,)` long; the
            bias `table (n,)` and the `first` offset in it; the `seed` of the dropout, a CPU tensor; the
            window, the direction, the name of the function, the factor of the scores, and the dropout.

    Returns:
        `(T, H, d_v)`; and what the backward pass needs: the logarithm of the sums of softmax `(H, T)`, empty
        for other functions, and the range of slots that each block reaches.
    """
    return _Call.of(q, k, v, *fields).forward()


@torch.library.custom_op(
    "sma::fused_attention_backward",
    mutates_args=(),
    schema="(Tensor grad, Tensor y, Tensor lse, Tensor ranges, Tensor q, Tensor k, Tensor v, "
    f"{_FIELDS}) -> (Tensor, Tensor, Tensor, Tensor)",
)
def fused_attention_backward(
    grad: Tensor, y: Tensor, lse: Tensor, ranges: Tensor, q: Tensor, k: Tensor, v: Tensor, *fields: Any
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The gradients of q, k, v and of the bias table (empty without one), given that of the result."""
    return _Call.of(q, k, v, *fields).backward(grad.contiguous(), y, lse, ranges)


@fused_attention.register_fake
def _(q: Tensor, k: Tensor, v: Tensor, *fields: Any) -> tuple[Tensor, Tensor, Tensor]:
    return _Call.of(q, k, v, *fields).results()


@fused_attention_backward.register_fake
def _(grad: Tensor, y: Tensor, lse: Tensor, ranges: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    return _Call.of(*rest).gradients()


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.save_for_backward(*output, *inputs[:8])
    ctx.rest = inputs[8:]


def _backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
    table = ctx.saved_tensors[9]
    *grads, of_table = fused_attention_backward(grad, *ctx.saved_tensors, *ctx.rest)
    of_table = None if table is None else of_table.to(table.dtype)
    return *grads, None, None, None, of_table, None, *[None] * len(ctx.rest)


fused_attention.register_autograd(_backward, setup_context=_setup_context)


class _Call(NamedTuple):
    """One call of the operation."""

    q: Tensor
    k: Tensor
    v: Tensor
    row: Tensor
    position: Tensor
    ptr: Tensor
    table: Tensor | None
    seed: Tensor | None
    first: int
    window: int | None
    bidirectional: bool
    function: str
    scale: float
    dropout: float

    @classmethod
    def of(cls, q: Tensor, k: Tensor, v: Tensor, *fields: Any) -> "_Call":
        """With features of a head next to each other in memory, as the kernels need them."""
        q, k, v = (x if x.stride(-1) == 1 else x.contiguous() for x in (q, k, v))
        return cls(q, k, v, *fields)

    @property
    def blocks(self) -> Blocks:
        return attention_blocks(self.q.dtype)

    @property
    def n_blocks(self) -> int:
        return -(-len(self.q) // self.blocks.block)

    def results(self) -> tuple[Tensor, Tensor, Tensor]:
        """Room for what the operation returns."""
        n_slots, n_heads, _ = self.q.shape
        lse = self.q.new_empty(
            (n_heads, n_slots) if self.function == "softmax" else (0, 0), dtype=torch.float32
        )
        y = self.v.new_empty(self.v.shape)
        return y, lse, self.q.new_empty((4, self.n_blocks), dtype=torch.int32)

    def gradients(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Room for the gradients."""
        shapes = (self.q.shape, self.k.shape, self.v.shape)
        grads = (x.new_empty(shape) for x, shape in zip(self[:3], shapes, strict=True))
        n_entries = 0 if self.table is None else len(self.table)
        return *grads, self.q.new_zeros(n_entries, dtype=torch.float32)  # type: ignore[return-value]

    def forward(self) -> tuple[Tensor, Tensor, Tensor]:
        from sma.modules.kernels import attention_kernels as kernels

        y, lse, ranges = results = self.results()
        if not len(self.q):
            return results
        back, ahead = self._reach()
        with on_device_of(self.q):
            kernels.ranges_kernel[(self.n_blocks,)](
                self.ptr,
                ranges,
                len(self.ptr) - 1,
                len(self.q),
                self.n_blocks,
                back,
                ahead,
                self.blocks.block,
                **OPTIONS,
            )
            kernels.forward_kernel[self._grid(self.v)](
                *self[:3], y, lse, *self._facts(), ranges, *self._strides(self.q, self.k, self.v),
                *self._scalars(), **self._constants(),
            )  # fmt: skip
        return results

    def backward(
        self, grad: Tensor, y: Tensor, lse: Tensor, ranges: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        from sma.modules.kernels import attention_kernels as kernels

        grad_q, grad_k, grad_v, grad_table = self.gradients()
        if not len(self.q):
            return grad_q, grad_k, grad_v, grad_table
        tables = grad_table.new_zeros(max(1, min(32, 2**16 // max(len(grad_table), 1))), len(grad_table))
        delta = torch.empty_like(lse)
        facts, scalars, constants = self._facts(), self._scalars(), self._constants()
        strides, n_heads, d_v = self._strides(self.q, self.k, self.v), *self.v.shape[1:]
        with on_device_of(self.q):
            if self.function == "softmax":
                block, width = constants["BLOCK"], constants["WIDTH"]
                kernels.sums_kernel[self._grid(self.v)[:2]](
                    y, grad, delta, len(y), n_heads, d_v, block, width, **OPTIONS
                )
            kernels.queries_kernel[self._grid(self.q)](
                *self[:3], grad, lse, delta, grad_q, tables, *facts, ranges, *strides, *scalars,
                len(tables), **constants,
            )  # fmt: skip
            kernels.keys_kernel[self._grid(self.k)](
                *self[:3], grad, lse, delta, grad_k, *facts, ranges, *strides, *scalars, **constants
            )
            kernels.values_kernel[self._grid(self.v)](
                self.q, self.k, grad, lse, grad_v, *facts, ranges, *strides[:4], *scalars, **constants
            )
        return grad_q, grad_k, grad_v, tables.sum(0)

    def _reach(self) -> tuple[int, int]:
        back = len(self.q) if self.window is None else min(self.window, len(self.q))
        return back, back if self.bidirectional else 0

    def _width(self) -> int:
        widths, widest = attention_widths(self.q.dtype), max(self.q.shape[2], self.v.shape[2])
        return next((width for width in widths if width >= widest), widths[-1])

    def _grid(self, x: Tensor) -> tuple[int, int, int]:
        return self.n_blocks, x.shape[1], -(-x.shape[2] // self._width())

    def _facts(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.row, self.position, self.row if self.table is None else self.table.float()

    @staticmethod
    def _strides(*tensors: Tensor) -> list[int]:
        return [x.stride(dim) for x in tensors for dim in (0, 1)]

    def _scalars(self) -> tuple[float, ...]:
        n_slots, n_heads, d_qk = self.q.shape
        n_entries = 0 if self.table is None else len(self.table)
        seed = 0 if self.seed is None else int(self.seed)
        sizes = (n_slots, n_heads, self.n_blocks, d_qk, self.v.shape[2], *self._reach())
        return *sizes, self.scale, self.first, n_entries, seed, self.dropout

    def _constants(self) -> dict[str, Any]:
        return attention_constants(
            self.function, self.q.dtype, self._width(), bias=self.table is not None, dropout=self.dropout > 0
        )


def attention_constants(
    function: str, dtype: torch.dtype, width: int, *, bias: bool, dropout: bool
) -> dict[str, Any]:
    """What the attention kernels are compiled for: any combination of these arguments may be chosen."""
    block, step, n_warps, n_stages = attention_blocks(dtype)
    return {
        "FUNCTION": FUNCTIONS[function],
        "BIAS": bias,
        "DROPOUT": dropout,
        "BLOCK": block,
        "STEP": step,
        "WIDTH": width,
        "PRECISION": precision() if dtype == torch.float32 else "tf32",
        "num_warps": n_warps,
        "num_stages": n_stages,
        **OPTIONS,
    }
