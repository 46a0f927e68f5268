r"""Linear recurrences over time in chunks: exact, linear in L, and mostly matrix products.

Inside a chunk of C elements a recurrence is a C x C matrix; between chunks only its state travels, by a scan
over the L / C chunk states. Decays are kept as logarithms, for a power such as $q^{32C}$ may underflow to 0.
"""

from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from typing_extensions import override

from sma.elements import PackedRows
from sma.modules.functional import at_least_float32, transformed
from sma.modules.ssm.chunks import LOG_OF_ZERO, RowChunks, chunk_size, to_chunks, to_sequence
from sma.modules.ssm.scan import scan, shift


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
    rows: PackedRows | None = None,
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
        initial: `(B, D, S)`, the state of `past` before the first element; None: zero. Not with `truncation`
            or `rows`.
        rows: those that stand one after another in `x (1, L, D)`, each convolved alone. None: B rows.

    Returns:
        `(B, L, D)`.
    """
    return _convolve(x, past, future, skip, truncation, initial, rows)[0]


def continue_convolution(x: Tensor, modes: Modes, *, skip: Tensor, initial: Tensor) -> tuple[Tensor, Tensor]:
    """`convolve` of the next elements from a state, and the state after them; both states are `(B, D, S)`."""
    y, before = _convolve(x, modes, None, skip, None, initial, None)
    size = chunk_size(x.shape[1], None)
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
    rows: PackedRows | None,
) -> tuple[Tensor, Tensor]:
    """The convolution, and the states that reach each chunk, `(D, B, G, S')` real; none if nothing does."""
    packed = None if rows is None or not len(rows.row) else RowChunks.of(rows, truncation)
    length = x.shape[1] if packed is None else packed.longest
    if truncation is not None and truncation >= length:
        truncation = None
    size = chunk_size(length, truncation) if packed is None else packed.size
    chunks = to_chunks(x if packed is None else packed.spread(x), size)
    n_chunks = max(1, -(-length // size))
    bands = _bands(past, future, skip, size, n_chunks, truncation)
    reach = n_chunks if truncation is None else truncation // size  # sees its own and reach - 1 chunks whole
    states = x.new_empty(0)
    if reach > 1 or initial is not None:
        collect, read_out = _state_maps(past, future, size)
        y, sums = _products(chunks.flatten(1, 2), _toeplitz(bands.pop(0)), collect)
        sums = sums.view(*chunks.shape[:3], sums.shape[-1])
        states = _carry_both_ways(sums, past, future, _Carry(size, reach, n_chunks, initial, packed))
        y.baddbmm_(states.flatten(1, 2), read_out)
    else:
        y = torch.bmm(chunks.flatten(1, 2), _toeplitz(bands.pop(0)))
    for offset, band in bands.items():
        seen = shift(chunks, offset) if packed is None else packed.shift(chunks, offset)
        y.baddbmm_(seen.flatten(1, 2), _toeplitz(band))
    y = to_sequence(y.view_as(chunks))
    return (y[:, :length] if packed is None else packed.collect(y)), states


def final_state(x: Tensor, modes: Modes) -> Tensor:
    """The state of `modes` after the last element of `x (B, L, D)`, from a zero state: `(B, D, S)`."""
    size = chunk_size(x.shape[1], None)
    chunks = to_chunks(F.pad(x, (0, 0, -x.shape[1] % size, 0)), size)
    steps = torch.arange(size - 1, -1, -1, device=x.device)
    sums = torch.bmm(chunks.flatten(1, 2), _real(modes.powers(steps)))
    states = _as_modes(sums.view(*chunks.shape[:3], sums.shape[-1]), modes)
    later = torch.arange(chunks.shape[2] - 1, -1, -1, device=x.device) * size
    return (states * modes.powers(later).unsqueeze(1)).sum(2).transpose(0, 1)


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


@dataclass(frozen=True)
class _Carry:
    """How states travel between chunks.

    Attributes:
        size: of a chunk, C.
        reach: a state is of the `reach - 1` chunks before its chunk.
        n_chunks: the most chunks of a row.
        initial: `(B, D, S)`, the state before the first chunk; None: zero.
        packed: the chunks of packed rows; None: of B rows, all of `n_chunks`.
    """

    size: int
    reach: int
    n_chunks: int
    initial: Tensor | None
    packed: RowChunks | None

    def reversed(self) -> "_Carry":
        """The same from the last chunk to the first, from a zero state."""
        packed = None if self.packed is None else self.packed.reversed()
        return replace(self, initial=None, packed=packed)

    def __call__(self, states: Tensor, modes: Modes) -> Tensor:
        """From what each chunk adds to the states, `(D, B, G, S)`, to the state before each."""
        log_decay, move = modes.log_decay[:, None, None] * self.size, shift
        if self.packed is not None:
            log_decay, move = self.packed.begin_anew(log_decay), self.packed.shift
        after = scan(states, log_decay)
        before = move(after, 1)
        if self.initial is not None:
            elapsed = torch.arange(states.shape[2], device=states.device) * self.size
            before = before + modes.powers(elapsed)[:, None] * self.initial.transpose(0, 1)[:, :, None]
        if self.reach < self.n_chunks:
            forgotten = torch.exp(modes.log_decay * ((self.reach - 1) * self.size))
            before = before - forgotten[:, None, None] * move(after, self.reach)
        return before


def _carry_both_ways(sums: Tensor, past: Modes, future: Modes | None, carry: _Carry) -> Tensor:
    """From what each chunk adds to the states, `(D, B, G, S')`, to the states that reach each chunk."""
    if future is None:
        return _real(carry(_as_modes(sums, past), past))
    forth, back = sums.chunk(2, -1)
    forth = carry(_as_modes(forth, past), past)
    back = carry.reversed()(_as_modes(back, future).flip(2), future).flip(2)
    return torch.cat((_real(forth), _real(back)), -1)


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


def _products(x: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Batched `x @ a` and `x @ b`."""
    if transformed():
        return torch.bmm(x, a), torch.bmm(x, b)
    return _Products.apply(x, a, b)  # type: ignore[no-untyped-call]
