"""The base of SSMs with a fixed diagonal recurrence: parallel form, streaming state and step."""

import math
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from typing_extensions import Self, override

from sma.checks import check_size
from sma.elements import Edges, PackedRows
from sma.modules.functional import held_in_float32, without_autocast
from sma.modules.rows import may_have_holes, real_first, take, to_places
from sma.modules.ssm.kernel_paths import continue_modes, convolve_modes
from sma.modules.ssm.once import once_per_state
from sma.modules.ssm.recurrence import Modes, final_state, full_precision
from sma.sequence import SequenceModule, check_input, zero_padding
from sma.state import State, check_state

SHORT = 16  # elements; a step of at most this many runs them one by one


@dataclass(frozen=True)
class DiagonalState(State):
    """Streaming state of a `DiagonalSSM`. T is its truncation, 0 if it has none.

    Attributes:
        hidden: `(B, S, D)`, real or complex; the state of every mode. Channels come last, as in the input.
        recent: `(B, T, D)`, a ring of the last T inputs, zero before the first.
        oldest: `(B,)` long; the place in the ring of the oldest input, which the next one replaces.
    """

    hidden: Tensor
    recent: Tensor
    oldest: Tensor


@dataclass(frozen=True)
class _StepModes:
    """What one step does to the state of the modes, `(S, D)`: by how much each grows, by what it is read,
    and what is left of an input when it leaves a truncated sum.
    """

    growth: Tensor
    gain: Tensor
    remaining: Tensor | None


class DiagonalSSM(SequenceModule[DiagonalState]):
    r"""Every channel is convolved with a sum of decaying exponentials, plus a direct path.

    $$ y_t = \omega x_t + \sum_{j=0}^{T-1} k_j x_{t-j}, \qquad
       k_j = \mathrm{Re} \sum_{n=1}^{S} \text{gain}_n \exp(j \cdot \text{log\_decay}_n) $$

    A bidirectional one adds a second kernel over the future; both include lag 0. Padding counts as zero and
    its outputs are zero. The recurrence is computed in float32 at least, and its parameters are held so:
    what rounding does to a decay grows with the length of the row, so `to(torch.bfloat16)` leaves them alone.

    A subclass says how its parameters and buffers, and nothing else, make the modes.

    Args:
        d_model: D, the number of channels.
        bidirectional: add a kernel that runs over the future.
        truncation: T, the number of taps; None: unlimited.

    Raises:
        ValueError: if `d_model` or `truncation` is less than 1.

    Example:
        >>> class LeakySum(DiagonalSSM):
        ...     def modes(self):
        ...         return (Modes(torch.full((self.d_model, 1), 0.5).log(), torch.ones(self.d_model, 1)),)
        >>> leaky = LeakySum(1)
        >>> _ = nn.init.zeros_(leaky.omega)
        >>> leaky(torch.tensor([[[1.0], [0.0], [1.0]]])).flatten().tolist()
        [1.0, 0.5, 1.25]
    """

    def __init__(self, d_model: int, *, bidirectional: bool = False, truncation: int | None = None) -> None:
        super().__init__()
        check_size("d_model", d_model)
        check_size("truncation", truncation, none="unlimited")
        self.d_model = d_model
        self.bidirectional = bidirectional
        self.truncation = truncation
        self.omega = nn.Parameter(torch.empty(d_model))

    @abstractmethod
    def modes(self) -> tuple[Modes, ...]:
        """The modes, in float32 at least; a decay of 0 may have the logarithm -inf.

        Returns:
            Those of the causal kernel and, if bidirectional, those of the anti-causal one.
        """

    def mode_shape(self) -> tuple[tuple[int, ...], torch.dtype]:
        """The shape `(D, S)` and dtype of `Modes.gain`.

        A subclass that knows them without reading its parameters says so here: parameters that are sharded
        (FSDP) cannot be read before a step.
        """
        gain = self.modes()[0].gain
        return tuple(gain.shape), gain.dtype

    @override
    def forward(
        self,
        x: Tensor,
        mask: Tensor | None = None,
        edges: Edges | None = None,
        rows: PackedRows | None = None,
    ) -> Tensor:
        with without_autocast(x.device):
            u, skip = self._input(x, mask), full_precision(self.omega)
            moved = mask if mask is not None and may_have_holes(mask) else None
            u = u if moved is None else real_first(u, moved)
            y = convolve_modes(u, *self._modes(), skip=skip, truncation=self.truncation, rows=rows)
            y = y if moved is None else to_places(y, moved)
        return zero_padding(y.to(x.dtype), mask)

    @override
    def init_state(
        self, batch_size: int, *, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> DiagonalState:
        """The state before the first element of `batch_size` rows, in float32 at least.

        Raises:
            NotImplementedError: if bidirectional.
        """
        if self.bidirectional:
            raise NotImplementedError(
                f"a bidirectional {type(self).__name__} looks at later elements, so it cannot decode step by "
                "step; build it with bidirectional=False"
            )
        shape, own_dtype = self.mode_shape()
        dtype = torch.promote_types(own_dtype, dtype or own_dtype)
        hidden = torch.zeros(batch_size, *shape[::-1], dtype=dtype, device=device or self.omega.device)
        return DiagonalState(
            hidden,
            hidden.real.new_zeros(batch_size, self.truncation or 0, self.d_model),
            hidden.new_zeros(batch_size, dtype=torch.long),
        )

    @override
    def step(self, x: Tensor, state: DiagonalState, mask: Tensor | None = None) -> Tensor:
        recent = (self.truncation or 0, self.d_model)
        check_state(state, DiagonalState, len(x), hidden=self.mode_shape()[0][::-1], recent=recent)
        one_by_one = x.shape[1] <= SHORT and not torch.is_grad_enabled()
        advance = self._advance_one_by_one if one_by_one else self._advance_chunk
        with without_autocast(x.device):
            y = advance(self._input(x, mask), state, mask)
        return zero_padding(y.to(x.dtype), mask)

    @override
    def flops(self, n: int) -> int:
        """Of the recurrence, two multiply-adds per mode, and the direct path."""
        shape, dtype = self.mode_shape()
        n_modes = math.prod(shape) * (2 if self.bidirectional else 1)
        return n * ((12 if dtype.is_complex else 4) * n_modes + 2 * self.d_model)

    @override
    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        return super()._apply(held_in_float32(fn), recurse)  # type: ignore[no-untyped-call]

    def _modes(self) -> tuple[Modes, ...]:
        return tuple(modes.finite() for modes in self.modes())

    def _input(self, x: Tensor, mask: Tensor | None) -> Tensor:
        return check_input(x, mask, self.d_model).to(full_precision(self.omega).dtype)

    def _advance_one_by_one(self, u: Tensor, state: DiagonalState, mask: Tensor | None) -> Tensor:
        modes = once_per_state(state, self, self._step_modes)
        hidden = state.hidden.to(modes.gain.dtype)
        outputs = []
        for t in range(u.shape[1]):
            real = None if mask is None else mask[:, t]
            added = u[:, t : t + 1]
            if modes.remaining is not None:
                added = added - modes.remaining * _exchange(state, u[:, t], real).to(u).unsqueeze(1)
            change = torch.addcmul(added, modes.growth, hidden)  # small terms first, or they are lost
            if real is not None:
                change = change.masked_fill(~real[:, None, None], 0)
            hidden.add_(change)
            outputs.append((hidden * modes.gain).real.sum(1, keepdim=True))
        if hidden is not state.hidden:
            state.hidden.copy_(hidden)
        y = outputs[0] if len(outputs) == 1 else torch.cat(outputs or [u], 1)
        return torch.addcmul(y, full_precision(self.omega), u)

    def _step_modes(self) -> _StepModes:
        modes, end = self._modes()[0], self.truncation
        growth = torch.expm1(modes.log_decay)  # where the decay itself would round to 1
        remaining = None if end is None else torch.exp(modes.log_decay * end).T.contiguous()
        return _StepModes(growth.T.contiguous(), modes.gain.T.contiguous(), remaining)

    def _advance_chunk(self, u: Tensor, state: DiagonalState, mask: Tensor | None) -> Tensor:
        modes, skip = self._modes()[0], full_precision(self.omega)
        length = u.shape[1]
        count = torch.full_like(state.oldest, length) if mask is None else mask.sum(1)
        new = u if mask is None else real_first(u, mask)
        if self.truncation is None:
            before = state.hidden.mT.to(modes.gain.dtype, copy=True)
            if mask is None:
                y, hidden = continue_modes(new, modes, skip=skip, initial=before)
            else:
                y = convolve_modes(new, modes, skip=skip, initial=before)
                kept = torch.exp(count[:, None, None] * modes.log_decay) * before
                hidden = kept + final_state(take(new, count - length, length), modes)
        else:
            seen = torch.cat((_in_order(state.recent, state.oldest).to(u), new), 1)
            y = convolve_modes(seen, modes, skip=skip, truncation=self.truncation)[:, self.truncation :]
            recent = take(seen, count, self.truncation)
            advanced = (count > 0)[:, None, None]
            hidden = torch.where(advanced, final_state(recent, modes), state.hidden.mT.to(modes.gain.dtype))
            state.oldest.add_(count).remainder_(self.truncation)
            state.recent.copy_(_in_order(recent.detach(), -state.oldest))
        state.hidden.copy_(hidden.detach().mT)
        return y if mask is None else to_places(y, mask)


def _exchange(state: DiagonalState, entering: Tensor, real: Tensor | None) -> Tensor:
    """Put the next input `(B, D)` in the ring where `real`, and return the one it replaces."""
    rows = torch.arange(len(entering), device=entering.device)
    leaving = state.recent[rows, state.oldest]
    stays = entering.to(leaving)
    state.recent[rows, state.oldest] = stays if real is None else torch.where(real[:, None], stays, leaving)
    state.oldest.add_(1 if real is None else real).remainder_(state.recent.shape[1])
    return leaving


def _in_order(ring: Tensor, first: Tensor) -> Tensor:
    """The elements of `ring (B, T, D)`, beginning with the one at `first (B,)`."""
    place = (first[:, None] + torch.arange(ring.shape[1], device=ring.device)) % ring.shape[1]
    return ring.gather(1, place.unsqueeze(-1).expand_as(ring))
