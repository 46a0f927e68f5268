r"""Linear recurrences over time in chunks: exact, linear in L, and mostly matrix products.

Inside a chunk of C elements a recurrence is a C x C matrix; between chunks only its state travels, by a scan
over the L / C chunk states. Decays are kept as logarithms, for a power such as $q^{32C}$ may underflow to 0.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from typing_extensions import override

from sma.modules.functional import at_least_float32, transformed
from sma.modules.ssm.scan import scan, shift

CHUNK = 64  # elements; 32 to 128 are about equally fast for 16 to 64 states
LOG_OF_ZERO = -1e4  # stands for the logarithm of a decay of 0: exp of it is 0, and 0 times it is 0


@dataclass(frozen=True)
class Modes:
    r"""Decaying modes of D channels, whose sum is a convolution kernel over the lags j = 0, 1, ...

    $$ k_j = \mathrm{Re} \sum_{n=1}^{S} \text{gain}_n \exp(j \cdot \text{log\_decay}_n), \qquad
       h_t = \exp(\text{log\_decay})\, h_{t-1} + x_t $$

    h is their state: $\mathrm{Re} \sum_n \text{gain}_n h_{t,n}$ is the convolution up to t.

    Attributes:
        log_decay: `(D, S)`, real or complex, with a real part of at most 0.
        gain: `(D, S)`, of the same dtype.
    """

    log_decay: Tensor
    gain: Tensor

    def finite(self) -> "Modes":
        """The same modes, where a decay of 0 has a finite logarithm."""
        log_decay = self.log_decay
        if not log_decay.is_complex():
            return Modes(log_decay.clamp(min=LOG_OF_ZERO), self.gain)
        return Modes(torch.complex(log_decay.real.clamp(min=LOG_OF_ZERO), log_decay.imag), self.gain)

    def powers(self, exponents: Tensor) -> Tensor:
        """`(D, n, S)`: every decay to each of the n `exponents`."""
        return torch.exp(exponents[:, None] * self.log_decay[:, None, :])

    def kernel(self, lags: Tensor, truncation: int | None = None) -> Tensor:
        """`(D, n)`: the kernel at n `lags` >= 0, and 0 from the lag `truncation` on."""
        values = (_real(self.powers(lags)) @ _real(self.gain.conj_physical()).unsqueeze(-1)).squeeze(-1)
        return values if truncation is None else values.masked_fill(lags >= truncation, 0)


def convolve(
    x: Tensor,
    past: Modes,
    future: Modes | None = None,
    *,
    skip: Tensor,
    truncation: int | None = None,
    initial: Tensor | None = None,
) -> Tensor:
    r"""Convolve every channel with the kernel of its modes, in time and memory linear in L.

    $$ y_t = \text{skip}\, x_t
       + \sum_{j \ge 0} k^\text{past}_j x_{t-j} + \sum_{j \ge 0} k^\text{future}_j x_{t+j} $$

    Args:
        x: `(B, L, D)`, zero at padding.
        past: the modes of the causal kernel.
        future: the modes of the anti-causal kernel; None: there is none.
        skip: `(D,)`, added to the kernel at lag 0.
        truncation: T, the number of taps that both kernels are cut to; None: all.
        initial: `(B, D, S)`, the state of `past` before the first element; None: zero. Not with `truncation`.

    Returns:
        `(B, L, D)`.
    """
    return _convolve(x, past, future, skip, truncation, initial)[0]


def continue_convolution(x: Tensor, modes: Modes, *, skip: Tensor, initial: Tensor) -> tuple[Tensor, Tensor]:
    """`convolve` of the next elements from a state, and the state after them; both states are `(B, D, S)`."""
    y, before = _convolve(x, modes, None, skip, None, initial)
    size = _chunk_size(x.shape[1], None)
    last = x[:, (before.shape[2] - 1) * size :]
    kept = torch.exp(modes.log_decay * last.shape[1]) * _as_modes(before[:, :, -1], modes).transpose(0, 1)
    return y, kept + final_state(last, modes)


def _convolve(
    x: Tensor,
    past: Modes,
    future: Modes | None,
    skip: Tensor,
    truncation: int | None,
    initial: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """The convolution, and the states that reach each chunk, `(D, B, G, S')` real; none if nothing does."""
    length = x.shape[1]
    if truncation is not None and truncation >= length:
        truncation = None
    size = _chunk_size(length, truncation)
    chunks = _to_chunks(x, size)
    n_chunks = chunks.shape[2]
    bands = _bands(past, future, skip, size, n_chunks, truncation)
    reach = n_chunks if truncation is None else truncation // size  # sees its own and reach - 1 chunks whole
    states = x.new_empty(0)
    if reach > 1 or initial is not None:
        collect, read_out = _state_maps(past, future, size)
        y, sums = _products(chunks.flatten(1, 2), _toeplitz(bands.pop(0)), collect)
        states = _carry_both_ways(
            sums.view(*chunks.shape[:3], sums.shape[-1]), past, future, size, reach, initial
        )
        y.baddbmm_(states.flatten(1, 2), read_out)
    else:
        y = torch.bmm(chunks.flatten(1, 2), _toeplitz(bands.pop(0)))
    for offset, band in bands.items():
        y.baddbmm_(shift(chunks, offset).flatten(1, 2), _toeplitz(band))
    return _to_sequence(y.view_as(chunks))[:, :length], states


def final_state(x: Tensor, modes: Modes) -> Tensor:
    """The state of `modes` after the last element of `x (B, L, D)`, from a zero state: `(B, D, S)`."""
    size = _chunk_size(x.shape[1], None)
    chunks = _to_chunks(F.pad(x, (0, 0, -x.shape[1] % size, 0)), size)
    steps = torch.arange(size - 1, -1, -1, device=x.device)
    sums = torch.bmm(chunks.flatten(1, 2), _real(modes.powers(steps)))
    states = _as_modes(sums.view(*chunks.shape[:3], sums.shape[-1]), modes)
    later = torch.arange(chunks.shape[2] - 1, -1, -1, device=x.device) * size
    return (states * modes.powers(later).unsqueeze(1)).sum(2).transpose(0, 1)


def _chunk_size(length: int, truncation: int | None) -> int:
    """The preferred size, or near it one that divides the truncation: fewer chunks are then partly cut."""
    if truncation is not None:
        sizes = sorted(range(CHUNK // 2, CHUNK * 3 // 2 + 1, 8), key=lambda size: abs(size - CHUNK))
        size = next((size for size in sizes if truncation % size == 0), CHUNK)
    else:
        size = CHUNK
    return max(1, min(size, length))


def _bands(
    past: Modes, future: Modes | None, skip: Tensor, size: int, n_chunks: int, truncation: int | None
) -> dict[int, Tensor]:
    """Kernels between an element's chunk and those it sees in part, by how many chunks earlier they are.

    In part, it sees its own chunk and the one or two that contain the cut.
    """
    offsets = {0}
    if truncation is not None:
        offsets |= {truncation // size, truncation // size + (truncation % size > 1)}
    offsets = {offset for offset in offsets if offset < n_chunks}
    bands = {offset: _band(past, offset, size, truncation) for offset in offsets}
    bands[0] = bands[0] + F.pad(skip[:, None], (size - 1, size - 1))
    if future is not None:
        for offset in offsets:
            band = _band(future, offset, size, truncation).flip(-1)
            bands[-offset] = band if offset else bands[0] + band
    return bands


def _band(modes: Modes, offset: int, size: int, truncation: int | None) -> Tensor:
    """`(D, 2C - 1)`: the kernel at the lags between the elements of two chunks `offset` chunks apart."""
    first = (offset - 1) * size + 1
    lags = torch.arange(max(first, 0), (offset + 1) * size, device=modes.gain.device)
    return F.pad(modes.kernel(lags, truncation), (max(-first, 0), 0))


def _toeplitz(band: Tensor) -> Tensor:
    """`(D, 2C - 1)` -> `(D, C, C)`: the matrix with `band[C - 1 + i - j]` in row j and column i."""
    return band.unfold(-1, (band.shape[-1] + 1) // 2, 1).flip(1)


def _state_maps(past: Modes, future: Modes | None, size: int) -> tuple[Tensor, Tensor]:
    """Maps from elements of a chunk to the states, `(D, C, S')`, and from states to outputs, `(D, S', C)`."""
    forth = torch.arange(size, device=past.gain.device)
    back = forth.flip(0)
    maps = [(past.powers(back), past.gain[:, None] * past.powers(forth + 1))]
    if future is not None:
        maps.append((future.powers(forth), future.gain[:, None] * future.powers(back + 1)))
    collect = [_real(collect) for collect, _ in maps]
    read_out = [_real(read_out.conj_physical()) for _, read_out in maps]  # Re(a b) = real(conj(a)) . real(b)
    return torch.cat(collect, -1), torch.cat(read_out, -1).mT


def _carry_both_ways(
    sums: Tensor, past: Modes, future: Modes | None, size: int, reach: int, initial: Tensor | None
) -> Tensor:
    """From what each chunk adds to the states, `(D, B, G, S')`, to the states that reach each chunk."""
    if future is None:
        return _real(_carry(_as_modes(sums, past), past, size, reach, initial))
    forth, back = sums.chunk(2, -1)
    forth = _carry(_as_modes(forth, past), past, size, reach, initial)
    back = _carry(_as_modes(back, future).flip(2), future, size, reach, None).flip(2)
    return torch.cat((_real(forth), _real(back)), -1)


def _carry(states: Tensor, modes: Modes, size: int, reach: int, initial: Tensor | None) -> Tensor:
    """The state before each chunk, of the `reach - 1` chunks before it."""
    n_chunks = states.shape[2]
    after = scan(states, modes.log_decay[:, None, None] * size)
    before = shift(after, 1)
    if initial is not None:
        elapsed = torch.arange(n_chunks, device=states.device) * size
        before = before + modes.powers(elapsed)[:, None] * initial.transpose(0, 1)[:, :, None]
    if reach < n_chunks:
        forgotten = torch.exp(modes.log_decay * ((reach - 1) * size))
        before = before - forgotten[:, None, None] * shift(after, reach)
    return before


def _real(x: Tensor) -> Tensor:
    """Complex `(..., S)` as real `(..., 2S)`; real as it is."""
    return torch.view_as_real(x).flatten(-2) if x.is_complex() else x


def _as_modes(x: Tensor, modes: Modes) -> Tensor:
    """The inverse of `_real`, for states of `modes`."""
    if not modes.gain.is_complex():
        return x
    return torch.view_as_complex(torch.unflatten(x, -1, (x.shape[-1] // 2, 2)))


def full_precision(x: Tensor) -> Tensor:
    """`x` in float32 at least: recurrences lose too much in half precision."""
    return x.to(at_least_float32(x.dtype))


class _ChannelsFirst(torch.autograd.Function):
    """`(N, C, D)` -> `(D, N, C)` with C contiguous in memory, as matrix products need it, in both passes."""

    @staticmethod
    @override
    def forward(x: Tensor) -> Tensor:
        return x.transpose(1, 2).contiguous().transpose(0, 1)

    @staticmethod
    @override
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        pass

    @staticmethod
    @override
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return _time_first(grad)


class _TimeFirst(_ChannelsFirst):
    """Its inverse."""

    @staticmethod
    @override
    def forward(x: Tensor) -> Tensor:
        return x.permute(1, 2, 0).contiguous()

    @staticmethod
    @override
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return _channels_first(grad)


class _Products(torch.autograd.Function):
    """Batched `x @ a` and `x @ b`; both add to one gradient of x in place."""

    @staticmethod
    @override
    def forward(x: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        return torch.bmm(x, a), torch.bmm(x, b)

    @staticmethod
    @override
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: tuple[Tensor, Tensor]) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    @override
    def backward(ctx: Any, grad_a: Tensor, grad_b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, a, b = ctx.saved_tensors
        grad_x = torch.bmm(grad_a, a.mT).baddbmm_(grad_b, b.mT)
        return grad_x, torch.bmm(x.mT, grad_a), torch.bmm(x.mT, grad_b)


def _to_chunks(x: Tensor, size: int) -> Tensor:
    """`(B, L, D)` -> `(D, B, G, C)`, with zeros behind the last element."""
    n_rows, length, d_model = x.shape
    n_chunks = max(1, -(-length // size))
    x = F.pad(x, (0, 0, 0, n_chunks * size - length)) if n_chunks * size > length else x
    chunks = _channels_first(x.reshape(n_rows * n_chunks, size, d_model))
    return torch.unflatten(chunks, 1, (n_rows, n_chunks))


def _to_sequence(chunks: Tensor) -> Tensor:
    """`(D, B, G, C)` -> `(B, G * C, D)`."""
    d_model, n_rows, n_chunks, size = chunks.shape
    x = _time_first(chunks.flatten(1, 2))
    return x.view(n_rows, n_chunks * size, d_model)


def _channels_first(x: Tensor) -> Tensor:
    if transformed():
        return x.permute(2, 0, 1)
    return _ChannelsFirst.apply(x)  # type: ignore[no-untyped-call]


def _time_first(x: Tensor) -> Tensor:
    if transformed():
        return x.permute(1, 2, 0).contiguous()
    return _TimeFirst.apply(x)  # type: ignore[no-untyped-call]


def _products(x: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Batched `x @ a` and `x @ b`."""
    if transformed():
        return torch.bmm(x, a), torch.bmm(x, b)
    return _Products.apply(x, a, b)  # type: ignore[no-untyped-call]
