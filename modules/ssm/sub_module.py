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
        x, _, place = elements.to_padded(elements.position)
        return elements.from_padded(self.ssm(x), place)

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
        x, passed, place = elements.to_padded(time)
        mask = torch.arange(x.shape[1], device=x.device) < passed[:, None]
        y = elements.from_padded(self.ssm.step(x, state.ssm, mask), place)
        state.elapsed.add_(passed)
        return y

    @override
    def flops(self, n: int) -> int:
        """Of the active elements, not of the time between them."""
        return self.ssm.flops(n)
