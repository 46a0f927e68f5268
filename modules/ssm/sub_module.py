"""A state space model over activated elements, at the times where they stand."""

from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import override

from sma.elements import Elements
from sma.modules.ssm.diagonal import DiagonalSSM, DiagonalState
from sma.state import State, check_state
from sma.sub_module import SubModule


@dataclass(frozen=True)
class SSMSubModuleState(State):
    """Decoding state of an `SSMSubModule`.

    Attributes:
        ssm: the model's state after each row's last active element.
        elapsed: `(B,)` long; the position after that element.
    """

    ssm: DiagonalState
    elapsed: Tensor


class SSMSubModule(SubModule[SSMSubModuleState]):
    r"""Runs a `DiagonalSSM` on each row's active elements at their original positions.

    Skipped elements are inputs of zero, and time passes: over a gap of k positions every mode decays as by k
    steps, $h_t = e^{k \cdot \text{log\_decay}}\, h_{t-k} + x_t$. `SequenceSubModule` counts active elements
    instead. The elements are spread over time and filtered together, so the work grows with the time up to a
    row's last active element, not with the number of active ones.

    Args:
        ssm: `MultiHeadEMA` or `S4D`.

    Example:
        >>> from sma import SMA
        >>> from sma.modules import LatentConfigurator, MultiHeadEMA
        >>> layer = SMA(LatentConfigurator(8, n_modules=1), [SSMSubModule(MultiHeadEMA(8))])
        >>> layer(torch.randn(2, 10, 8)).shape
        torch.Size([2, 10, 8])
    """

    def __init__(self, ssm: DiagonalSSM) -> None:
        super().__init__()
        self.ssm = ssm

    @override
    def forward(self, elements: Elements) -> Tensor:
        """Waits for the device."""
        rows, place, _ = _spread(elements, elements.position)
        return _gather(self.ssm(rows), place)

    @override
    def init_state(
        self, batch_size: int, *, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> SSMSubModuleState:
        ssm = self.ssm.init_state(batch_size, device=device, dtype=dtype)
        return SSMSubModuleState(ssm, torch.zeros_like(ssm.oldest))

    @override
    def step(self, elements: Elements, state: SSMSubModuleState) -> Tensor:
        """Waits for the device."""
        check_state(state, SSMSubModuleState, elements.n_rows)
        time = elements.position - state.elapsed.index_select(0, elements.row.clamp(min=0))
        rows, place, spans = _spread(elements, time)
        passed = torch.arange(rows.shape[1], device=rows.device) < spans[:, None]
        y = _gather(self.ssm.step(rows, state.ssm, passed), place)
        state.elapsed.add_(spans)
        return y

    @override
    def flops(self, n: int) -> int:
        """Of the active elements, not of the time between them."""
        return self.ssm.flops(n)


def _spread(elements: Elements, time: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The elements as `(B, longest, D)` with zeros between, each slot's place there, and spans `(B,)`."""
    row = elements.row.clamp(min=0)
    end = torch.where(elements.valid, time + 1, 0)
    spans = torch.zeros_like(elements.ptr[1:]).scatter_reduce(0, row, end, "amax")
    longest = int(spans.max()) if elements.n_rows else 0
    n_places = elements.n_rows * longest
    place = torch.where(elements.valid, row * longest + time, n_places)
    rows = elements.x.new_zeros(n_places + 1, elements.x.shape[1]).index_copy(0, place, elements.x)
    return rows[:n_places].view(elements.n_rows, longest, rows.shape[1]), place, spans


def _gather(rows: Tensor, place: Tensor) -> Tensor:
    """What stands at each slot's place; zero at the place behind the last, that of padding slots."""
    return torch.cat((rows.flatten(0, 1), rows.new_zeros(1, rows.shape[2]))).index_select(0, place)
