"""The selective scan by Triton kernels, as operations that torch.compile takes as they are."""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from sma.modules.kernels.attention_op import precision
from sma.modules.kernels.choice import on_device_of
from sma.modules.kernels.options import OPTIONS

CHUNK = 64
"""Elements of a chunk."""
WIDTH, STATES = 32, 256
"""Columns that a program of a chunk computes; states that one carries from chunk to chunk."""


@torch.library.custom_op(
    "sma::fused_scan",
    mutates_args=(),
    schema="(Tensor x, Tensor log_decay, Tensor write, Tensor read, Tensor? initial) "
    "-> (Tensor, Tensor, Tensor)",
)
def fused_scan(
    x: Tensor, log_decay: Tensor, write: Tensor, read: Tensor, initial: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """`selective_scan` in float32; arguments as there.

    Returns:
        y `(B, L, H, P)`, the last state `(B, H, P, S)`, and the states before each chunk
        `(B, G, H, P, S)`, which the backward pass needs.
    """
    return _Call.of(x, log_decay, write, read).forward(initial)


@torch.library.custom_op(
    "sma::fused_scan_backward",
    mutates_args=(),
    schema="(Tensor grad, Tensor grad_last, Tensor y, Tensor last, Tensor before, Tensor x, "
    "Tensor log_decay, Tensor write, Tensor read) -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
)
def fused_scan_backward(
    grad: Tensor, grad_last: Tensor, y: Tensor, last: Tensor, before: Tensor, *inputs: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The gradients of x, log_decay, write, read and of the initial state."""
    grad, grad_last = grad.contiguous(), grad_last.contiguous()
    return _Call.of(*inputs).backward(grad, grad_last, y, last, before)


@fused_scan.register_fake
def _(
    x: Tensor, log_decay: Tensor, write: Tensor, read: Tensor, initial: Tensor | None
) -> tuple[Tensor, ...]:
    call = _Call(x, log_decay, write, read)
    return x.new_empty(x.shape), x.new_empty(call.state_shape()), x.new_empty(call.states_shape())


@fused_scan_backward.register_fake
def _(grad: Tensor, grad_last: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
    return *(x.new_empty(x.shape) for x in rest[3:]), grad_last.new_empty(grad_last.shape)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.save_for_backward(*output, *inputs[:4])
    ctx.has_initial = inputs[4] is not None


def _backward(ctx: Any, grad: Tensor, grad_last: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    *grads, of_initial = fused_scan_backward(grad, grad_last, *ctx.saved_tensors)
    return *grads, of_initial if ctx.has_initial else None


fused_scan.register_autograd(_backward, setup_context=_setup_context)


class _Operand(NamedTuple):
    """A tensor of `(B, L, H, width)`, or `(B, L, width)` shared by the heads, and how to walk through it."""

    x: Tensor

    def strides(self) -> tuple[int, int, int]:
        row, time = self.x.stride(0), self.x.stride(1)
        return row, time, self.x.stride(2) if self.x.dim() == 4 else 0


class _Call(NamedTuple):
    """One scan."""

    x: Tensor
    log_decay: Tensor
    write: Tensor
    read: Tensor

    @classmethod
    def of(cls, *inputs: Tensor) -> "_Call":
        """With features next to each other in memory, as the kernels need them."""
        x, log_decay, write, read = (z if z.stride(-1) == 1 else z.contiguous() for z in inputs)
        return cls(x, log_decay.contiguous(), write, read)

    def state_shape(self) -> tuple[int, int, int, int]:
        n_rows, _, n_heads, d_head = self.x.shape
        return n_rows, n_heads, d_head, self.write.shape[-1]

    def states_shape(self) -> tuple[int, int, int, int, int]:
        n_rows, *state = self.state_shape()
        return n_rows, self._n_chunks(), state[0], state[1], state[2]

    def forward(self, initial: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        states, totals = self._sums(self.x, self.write, from_start=False)
        last = self.x.new_empty(self.state_shape())
        self._carry(states, totals, initial, last)
        y = self._outputs(self.read, self.write, self.x, states, reverse=False)
        return y, last, states

    def backward(
        self, grad: Tensor, grad_last: Tensor, y: Tensor, last: Tensor, before: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        behind, totals = self._sums(grad, self.read, from_start=True)
        of_initial = torch.empty_like(grad_last)
        of_totals = self._carry(behind, totals, grad_last, of_initial, before, last)
        grad_x = self._outputs(self.write, self.read, grad, behind, reverse=True)
        grad_write = self._outputs(self.x, grad, self.read, behind, reverse=True).sum(2)
        grad_read = self._outputs(grad, self.x, self.write, before, reverse=False).sum(2)
        return grad_x, self._of_decays(grad, y, grad_x, of_totals), grad_write, grad_read, of_initial

    def _of_decays(self, grad: Tensor, y: Tensor, grad_x: Tensor, of_totals: Tensor) -> Tensor:
        """A decay acts on later outputs, by earlier inputs, and on the total: within a chunk, a difference.

        It rounds by the size of its parts, the products of outputs and of inputs with their gradients.
        """
        acts = (grad * y).sum(-1) - (self.x * grad_x).sum(-1)  # (B, L, H)
        missing = self._n_chunks() * CHUNK - acts.shape[1]
        chunks = torch.unflatten(F.pad(acts, (0, 0, 0, missing)), 1, (self._n_chunks(), CHUNK))
        later = chunks.flip(2).cumsum(2).flip(2) + of_totals.unsqueeze(2)
        return later.flatten(1, 2)[:, : acts.shape[1]].contiguous()

    def _sums(self, a: Tensor, b: Tensor, *, from_start: bool) -> tuple[Tensor, Tensor]:
        """What each chunk adds to the states, and the logarithm of its decay `(B, G, H)`."""
        from sma.modules.kernels import scan_kernels as kernels

        states = a.new_empty(self.states_shape())
        totals = a.new_empty(states.shape[:3])
        if states.numel():
            d_a, d_b = states.shape[3:]
            n_blocks_b = -(-d_b // WIDTH)
            grid = (states.shape[0] * states.shape[1], states.shape[2], -(-d_a // WIDTH) * n_blocks_b)
            strides = (*_Operand(a).strides(), *_Operand(b).strides())
            with on_device_of(a):
                kernels.scan_states_kernel[grid](
                    a, b, self.log_decay, states, totals, *self._sizes(), d_a, d_b, n_blocks_b, *strides,
                    **scan_constants("scan_states", FROM_START=from_start),
                )  # fmt: skip
        return states, totals

    def _carry(
        self,
        states: Tensor,
        totals: Tensor,
        first: Tensor | None,
        last: Tensor,
        before: Tensor | None = None,
        final: Tensor | None = None,
    ) -> Tensor:
        """Scan the states in place; in reverse, with `before` and `final`, return the gradient of totals."""
        from sma.modules.kernels import scan_kernels as kernels

        n_rows, n_chunks, n_heads, *size = states.shape
        n_states = size[0] * size[1]
        n_blocks = -(-n_states // STATES)
        of_totals = totals.new_empty(n_blocks, *totals.shape) if before is not None else totals
        if last.numel():
            with on_device_of(states):
                kernels.scan_carry_kernel[(n_rows, n_heads, n_blocks)](
                    states, totals, last if first is None else first.contiguous(), last,
                    states if before is None else before, last if final is None else final, of_totals,
                    n_heads, n_chunks, n_states,
                    **scan_constants("scan_carry", FIRST=first is not None, REVERSE=before is not None),
                )  # fmt: skip
        return of_totals.sum(0) if before is not None else totals

    def _outputs(self, a: Tensor, b: Tensor, c: Tensor, states: Tensor, *, reverse: bool) -> Tensor:
        """What comes of `c` by way of the products of `a` and `b`, and of the states: `(B, L, H, .)`."""
        from sma.modules.kernels import scan_kernels as kernels

        n_rows, length, n_heads, _ = self.x.shape
        d_in, d_out = a.shape[-1], c.shape[-1]
        y = self.x.new_empty(n_rows, length, n_heads, d_out)
        if y.numel():
            from_states = a.dim() == 3  # shared by the heads: then the columns of a state are contracted
            state_strides = (1, d_in) if from_states else (d_out, 1)
            strides = [stride for z in (a, b, c) for stride in _Operand(z).strides()]
            with on_device_of(a):
                kernels.scan_outputs_kernel[(n_rows * self._n_chunks(), n_heads, -(-d_out // WIDTH))](
                    a, b, c, self.log_decay, states, y, *self._sizes(), d_in, d_out, *strides, *state_strides,
                    **scan_constants("scan_outputs", REVERSE=reverse),
                )  # fmt: skip
        return y

    def _n_chunks(self) -> int:
        return -(-self.x.shape[1] // CHUNK)

    def _sizes(self) -> tuple[int, int, int]:
        return self.x.shape[1], self.x.shape[2], self._n_chunks()


def scan_constants(kernel: str, **settings: bool) -> dict[str, Any]:
    """What a kernel of the scan is compiled for: any combination of its settings may be chosen."""
    if kernel == "scan_carry":
        return {**settings, "BLOCK": STATES, "num_warps": 4, **OPTIONS}
    sizes = {"CHUNK": CHUNK, "WIDTH": WIDTH, "PRECISION": precision()}
    return {**settings, **sizes, "num_warps": 4, "num_stages": 1, **OPTIONS}
