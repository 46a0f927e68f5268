"""The diagonal recurrence by Triton kernels, as operations that torch.compile takes as they are."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from sma.modules.kernels.choice import on_device_of
from sma.modules.kernels.options import OPTIONS

CHUNK = 64
"""Elements that a program runs one after another."""
MODES, CHANNELS, STATES = 16, 32, 128
"""Modes and channels of a program that runs a chunk; states of one that carries them from chunk to chunk."""


@torch.library.custom_op(
    "sma::fused_recurrence",
    mutates_args=(),
    schema="(Tensor x, Tensor log_decay, Tensor gain, Tensor? initial, int? truncation, bool reverse) "
    "-> Tensor",
)
def fused_recurrence(
    x: Tensor, log_decay: Tensor, gain: Tensor, initial: Tensor | None, truncation: int | None, reverse: bool
) -> Tensor:
    """Every channel convolved with the kernel of its modes; see `Modes`.

    Args:
        x: `(B, L, D)` float32.
        log_decay: `(D, S)` float32 or complex64, finite.
        gain: `(D, S)` of the same dtype.
        initial: `(B, D, S)`, the state before the first element, without gradient; None: zero.
        truncation: the number of taps; None: all.
        reverse: from the last element to the first.

    Returns:
        `(B, L, D)`.
    """
    return _Call(x.contiguous(), log_decay, gain, initial, truncation, reverse).outputs()


@torch.library.custom_op(
    "sma::fused_recurrence_backward",
    mutates_args=(),
    schema="(Tensor grad, Tensor x, Tensor log_decay, Tensor gain, Tensor? initial, int? truncation, "
    "bool reverse) -> (Tensor, Tensor, Tensor)",
)
def fused_recurrence_backward(
    grad: Tensor,
    x: Tensor,
    log_decay: Tensor,
    gain: Tensor,
    initial: Tensor | None,
    truncation: int | None,
    reverse: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of x, log_decay and gain: that of x runs the other way."""
    grad = grad.contiguous()
    of_x = _Call(grad, log_decay, gain, None, truncation, not reverse).outputs()
    return of_x, *_Call(x.contiguous(), log_decay, gain, initial, truncation, reverse).gradients(grad)


@fused_recurrence.register_fake
def _(x: Tensor, *_: Any) -> Tensor:
    return x.new_empty(x.shape)


@fused_recurrence_backward.register_fake
def _(grad: Tensor, x: Tensor, log_decay: Tensor, gain: Tensor, *_: Any) -> tuple[Tensor, Tensor, Tensor]:
    return x.new_empty(x.shape), log_decay.new_empty(log_decay.shape), gain.new_empty(gain.shape)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:4])
    ctx.rest = inputs[4:]


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    grads: tuple[Tensor, ...] = fused_recurrence_backward(grad, *ctx.saved_tensors, *ctx.rest)
    return *grads, None, None, None


fused_recurrence.register_autograd(_backward, setup_context=_setup_context)


class _Call(NamedTuple):
    """One run over the rows, in one direction."""

    x: Tensor
    log_decay: Tensor
    gain: Tensor
    initial: Tensor | None
    truncation: int | None
    reverse: bool

    def outputs(self) -> Tensor:
        from sma.modules.kernels import recurrence_kernels as kernels

        if not self.x.numel():
            return torch.zeros_like(self.x)
        modes = self._modes()
        addends = self.x.new_empty(self._grid()[2], *self.x.shape)
        with on_device_of(self.x):
            states = self._states(modes, sensitive=False)
            kernels.chunk_outputs_kernel[self._grid()](
                self.x, modes, states, addends, *self._sizes(), **self._constants("chunk_outputs")
            )
        return addends[0] if len(addends) == 1 else addends.sum(0)

    def gradients(self, grad: Tensor) -> tuple[Tensor, Tensor]:
        """Those of the logarithms of the decays, and of the gains."""
        from sma.modules.kernels import recurrence_kernels as kernels

        if not self.x.numel():
            return torch.zeros_like(self.log_decay), torch.zeros_like(self.gain)
        modes = self._modes()
        with on_device_of(self.x):
            states = self._states(modes, sensitive=True)
            grads = torch.empty_like(states)
            kernels.chunk_gradients_kernel[self._grid()](
                self.x, grad, modes, states, grads, *self._sizes(), **self._constants("chunk_gradients")
            )
        if not self.gain.is_complex():
            planes = grads[::2].sum(1)
            of_gain, of_decay = (plane.mT.clone(memory_format=torch.contiguous_format) for plane in planes)
            return of_decay, of_gain
        planes = grads.sum(1).mT  # (4, D, S)
        return torch.complex(planes[2], planes[3]), torch.complex(planes[0], planes[1])

    def _states(self, modes: Tensor, *, sensitive: bool) -> Tensor:
        """Those before each chunk: `(planes, B * G, S, D)`, and of the derivatives if `sensitive`."""
        from sma.modules.kernels import recurrence_kernels as kernels

        n_rows, (d_model, n_modes) = len(self.x), self.gain.shape
        shape = (4 if sensitive else 2, n_rows * self._n_chunks(), n_modes, d_model)
        states = self.x.new_empty(shape)
        kernels.chunk_states_kernel[self._grid()](
            self.x, modes, states, *self._sizes(), **self._constants("chunk_states", SENSITIVE=sensitive)
        )
        initial = modes
        if self.initial is not None:
            state = self.initial.transpose(1, 2)
            parts = (state.real, state.imag) if state.is_complex() else (state,)
            initial = torch.stack(parts).float().contiguous()
        n_states = n_modes * d_model
        kernels.carry_kernel[(n_rows, -(-n_states // STATES))](
            states, modes, initial, n_states, self._n_chunks(),
            **self._constants("carry", SENSITIVE=sensitive, INITIAL=self.initial is not None),
        )  # fmt: skip
        return states

    def _modes(self) -> Tensor:
        """`(8, S, D)`: real and imaginary parts of the decay - 1, the gain, and the decay to two powers."""
        powers = [torch.exp(self.log_decay * power) for power in (self.truncation or 0, CHUNK)]
        parts = torch.stack((torch.expm1(self.log_decay), self.gain, *powers)).transpose(1, 2)
        parts = torch.view_as_real(parts) if parts.is_complex() else torch.stack((parts, parts), -1)
        return parts.movedim(-1, 1).flatten(0, 1).contiguous()

    def _n_chunks(self) -> int:
        return -(-self.x.shape[1] // CHUNK)

    def _grid(self) -> tuple[int, int, int]:
        d_model, n_modes = self.gain.shape
        return len(self.x) * self._n_chunks(), -(-d_model // CHANNELS), -(-n_modes // MODES)

    def _sizes(self) -> tuple[int, ...]:
        d_model, n_modes = self.gain.shape
        return self.x.shape[1], d_model, n_modes, self._n_chunks(), self.truncation or 0

    def _constants(self, kernel: str, **more: bool) -> dict[str, Any]:
        fixed = {"COMPLEX": self.gain.is_complex(), "TRUNCATED": self.truncation is not None}
        return recurrence_constants(kernel, **fixed, REVERSE=self.reverse, **more)


def recurrence_constants(kernel: str, **settings: bool) -> dict[str, Any]:
    """What a kernel of the recurrence is compiled for: any combination of its settings may be chosen."""
    n_warps = 2 if kernel == "chunk_gradients" and settings["COMPLEX"] else 1
    options = {"num_warps": n_warps, **OPTIONS}
    if kernel == "carry":
        chosen = {name: settings[name] for name in ("COMPLEX", "SENSITIVE", "INITIAL")}
        return {**chosen, "CHUNK": CHUNK, "BLOCK": STATES, **options}
    return {**settings, "CHUNK": CHUNK, "BLOCK_S": MODES, "BLOCK_D": CHANNELS, **options}
