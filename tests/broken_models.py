"""Small models with one fault each, which a check of any model must find, and the same without a fault."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from typing_extensions import override

from sma.sequence import SequenceModule, zero_padding
from sma.state import State

D = 4


@dataclass(frozen=True)
class Sums(State):
    """What a running mean has seen: the sum `(B, D)` and the number `(B,)` of elements."""

    total: Tensor
    count: Tensor


class RunningMean(SequenceModule[Sums]):
    """A linear map of the mean of all elements so far, which decodes; without a fault."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(D, D)

    @override
    def forward(self, x, mask=None, edges=None):
        return self.step(x, self.init_state(len(x), dtype=x.dtype), mask)

    @override
    def init_state(self, batch_size, *, device=None, dtype=None):
        return Sums(torch.zeros(batch_size, D, dtype=dtype), torch.zeros(batch_size, dtype=dtype))

    @override
    def step(self, x, state, mask=None):
        real = torch.ones_like(x[..., 0]) if mask is None else mask.to(x.dtype)
        total = state.total[:, None] + zero_padding(x, mask).cumsum(1)
        count = state.count[:, None] + real.cumsum(1)
        state.total.copy_(total[:, -1].detach())
        state.count.copy_(count[:, -1])
        return zero_padding(self.linear(total / count[..., None].clamp(min=1)), mask)


class ForgetsInChunks(RunningMean):
    """Decodes one element after another, but reads a longer chunk as if nothing was before."""

    @override
    def step(self, x, state, mask=None):
        if x.shape[1] > 1:
            state.total.zero_()
            state.count.zero_()
        return super().step(x, state, mask)


class CountsOneTooMany(RunningMean):
    """Its cache is off by one element."""

    @override
    def step(self, x, state, mask=None):
        y = super().step(x, state, mask)
        state.count.add_(1)
        return y


class ForgetsPastItsWindow(RunningMean):
    """Decodes as its forward, until there are more elements than fit into its window."""

    window = 16

    @override
    def step(self, x, state, mask=None):
        if x.shape[1] == 1:
            state.total[state.count >= self.window] = 0
        return super().step(x, state, mask)


class CountsPaddingInSteps(RunningMean):
    """Padding advances its cache, though it is zero."""

    @override
    def step(self, x, state, mask=None):
        y = super().step(x, state, mask)
        if mask is not None:
            state.count.add_((~mask).sum(1))
        return y

    @override
    def forward(self, x, mask=None, edges=None):
        return RunningMean.step(self, x, self.init_state(len(x), dtype=x.dtype), mask)


class RemembersEarlierRows(RunningMean):
    """Keeps its decoding state in itself, and begins with what it had."""

    def __init__(self) -> None:
        super().__init__()
        self.kept = 0.0

    @override
    def forward(self, x, mask=None, edges=None):
        return RunningMean.step(self, x, super().init_state(len(x), dtype=x.dtype), mask)

    @override
    def init_state(self, batch_size, *, device=None, dtype=None):
        state = super().init_state(batch_size, dtype=dtype)
        state.total.add_(self.kept)
        return state

    @override
    def step(self, x, state, mask=None):
        y = super().step(x, state, mask)
        self.kept = state.total.mean().item()
        return y


class StuckSums(Sums):
    """Rows do not move."""

    @override
    def select(self, rows):
        return type(self)(self.total[: len(rows)].clone(), self.count[: len(rows)].clone())

    @override
    def join(self, other):
        return type(self)(torch.cat([self.total, other.total]), torch.cat([self.count, 0 * other.count]))


class DoesNotMoveRows(RunningMean):
    """Its cache leaves rows where they are, and forgets how many elements joining rows have seen."""

    @override
    def init_state(self, batch_size, *, device=None, dtype=None):
        made = super().init_state(batch_size, dtype=dtype)
        return StuckSums(made.total, made.count)


class Plain(nn.Module):
    """A module `(B, L, D) -> (B, L, D)` that maps every element by itself, without a fault."""

    causal = True

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(D, D)

    def forward(self, x, mask=None):
        return self.linear(x)


class PeeksAhead(Plain):
    """Says that it is causal, and sees the next element."""

    def forward(self, x, mask=None):
        return self.linear(x + 0.01 * x.roll(-1, 1))


class SeesBatchMates(Plain):
    """Subtracts the mean over the batch instead of the features."""

    def forward(self, x, mask=None):
        return self.linear(x - x.mean(0))


class SeesPadding(Plain):
    """A mean over all elements, padding included."""

    causal = False

    def forward(self, x, mask=None):
        return self.linear(x + x.mean(1, keepdim=True))


class CountsFromTheLeft(Plain):
    """Adds positions that count padding."""

    def forward(self, x, mask=None):
        return self.linear(x + torch.arange(x.shape[1], dtype=x.dtype)[:, None])


class DropsInEvaluation(Plain):
    """Its dropout is never switched off."""

    def forward(self, x, mask=None):
        return self.linear(nn.functional.dropout(x, 0.5))


class RecomputesOtherwise(Plain):
    """Remembers how often it was called in training, so that a recomputation is another computation."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x, mask=None):
        self.calls += self.training
        return self.linear(x) * (1 + self.calls)


class IdleExperts(Plain):
    """Two experts; that which no element chooses takes no part in the computation."""

    def __init__(self) -> None:
        super().__init__()
        self.experts = nn.ModuleList([nn.Linear(D, D), nn.Linear(D, D)])

    def forward(self, x, mask=None):
        chosen, y = x[..., 0] > 0, torch.zeros_like(x)
        for which, expert in zip((chosen, ~chosen), self.experts, strict=True):
            if which.any():
                y = y.index_put(which.nonzero(as_tuple=True), expert(x[which]))
        return self.linear(y)


class LosesPrecision(Plain):
    """Differences of large numbers, which bfloat16 does not hold."""

    def forward(self, x, mask=None):
        return (self.linear(x) + 3000) - 2900 - 100


class KeepsNumbersForItself(Plain):
    """A number of its own that is in no file."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.rand(())

    def forward(self, x, mask=None):
        return self.linear(x) * self.scale
