"""Small routers and a small sub-module whose behaviour a test can predict."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from typing_extensions import override

from sma.elements import Elements
from sma.routing import Router, Routing, mask_padding
from sma.state import State
from sma.sub_module import SubModule


class FixedRouter(Router):
    """Returns a given routing, whatever the input.

    Args:
        routing: its decisions, `(B, L, M)`.

    Example:
        >>> routing = Routing(torch.ones(2, 3, 1, dtype=torch.bool), torch.ones(2, 3, 1))
        >>> FixedRouter(routing)(torch.zeros(2, 3, 8)) is routing
        True
    """

    def __init__(self, routing: Routing) -> None:
        super().__init__(routing.active.shape[-1])
        self.routing = routing

    @override
    def forward(self, x: Tensor, mask: Tensor | None = None) -> Routing:
        """The given routing."""
        return self.routing


class InputRouter(Router):
    """Reads its decision from the input: sub-module m is active where channel m is positive.

    A test steers it by the input. The confidence is the channel's sigmoid.

    Args:
        n_modules: M, at most the width of the input.

    Example:
        >>> InputRouter(2)(torch.tensor([[[1.0, -1.0, 0.0]]])).active.tolist()
        [[[True, False]]]
    """

    @override
    def forward(self, x: Tensor, mask: Tensor | None = None) -> Routing:
        decisive = x[..., : self.n_modules]
        return Routing(mask_padding(decisive > 0, mask), decisive.sigmoid())


@dataclass(frozen=True)
class CausalMeanState(State):
    """The decoding state of `CausalMean`.

    Attributes:
        total: `(B, D)`; sum of the elements seen.
        count: `(B,)`; their number.
    """

    total: Tensor
    count: Tensor


class CausalMean(SubModule[CausalMeanState]):
    r"""A linear map of the mean of a row's elements so far: the simplest causal sub-module with a state.

    $$ f(h)_t = W \, \frac{1}{t} \sum_{s \le t} h_s $$

    Quadratic in the number of elements; for tests and as an example of the contract.

    Args:
        d_model: D.

    Example:
        >>> from sma import PackedCompaction
        >>> x, active = torch.randn(2, 5, 4), torch.rand(2, 5) > 0.5
        >>> elements = PackedCompaction().compress(x, active)
        >>> CausalMean(4)(elements).shape == elements.x.shape
        True
    """

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.d_model = d_model
        self.linear = nn.Linear(d_model, d_model, bias=False)

    @override
    def forward(self, elements: Elements) -> Tensor:
        seen = self._seen(elements)
        return self.linear((seen @ elements.x) / seen.sum(1, keepdim=True).clamp(min=1))

    @override
    def init_state(
        self, batch_size: int, *, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> CausalMeanState:
        total = torch.zeros(batch_size, self.d_model, device=device, dtype=dtype)
        return CausalMeanState(total, torch.zeros(batch_size, device=device, dtype=dtype))

    @override
    def step(self, elements: Elements, state: CausalMeanState) -> Tensor:
        seen, row, valid = self._seen(elements), elements.row.clamp(min=0), elements.valid.to(elements.x)
        total, count = seen @ elements.x + state.total[row], seen.sum(1) + state.count[row]
        state.total.index_add_(0, row, elements.x.detach() * valid[:, None])
        state.count.index_add_(0, row, valid)
        return self.linear(total / count.clamp(min=1)[:, None])

    @override
    def flops(self, n: int) -> int:
        return 2 * n * (self.d_model**2 + n * self.d_model)

    @staticmethod
    def _seen(elements: Elements) -> Tensor:
        """`(T, T)`: 1 where a slot (first index) sees another."""
        same = elements.row[:, None] == elements.row
        before = elements.position[:, None] >= elements.position
        return (same & before & elements.valid).to(elements.x)
