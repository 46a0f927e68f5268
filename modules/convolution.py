"""A short causal convolution over the active elements of each row."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from typing_extensions import override

from sma.checks import check_sizes
from sma.elements import Elements
from sma.modules.functional import activation_function
from sma.state import State, check_state
from sma.sub_module import SubModule


@dataclass(frozen=True)
class ConvolutionState(State):
    """The decoding state of a causal convolution.

    Attributes:
        context: `(B, kernel_size - 1, D)`; the last active elements of every row, zeros before the first.
    """

    context: Tensor


class CausalConvolution(SubModule[ConvolutionState]):
    r"""A depthwise convolution over each row's active elements, past ones only.

    $$ f(h)_i = \phi\Big(b + \sum_{j=0}^{k-1} w_{k-1-j} \odot h_{i-j}\Big) $$

    where i counts the active elements of a row, and h is 0 before the first. `weight` and `bias` are those of
    a depthwise `nn.Conv1d`.

    Args:
        d_model: D.
        kernel_size: k: itself and the k - 1 active elements before it.
        activation: \(\phi\), a name that `activation_function` knows.
        bias: whether b exists.

    Raises:
        ValueError: if `kernel_size` is less than 1.

    Example:
        >>> from sma import PackedCompaction
        >>> f = CausalConvolution(1, kernel_size=2, bias=False)
        >>> _ = nn.init.ones_(f.weight)
        >>> x = torch.tensor([[[1.0], [10.0], [100.0]]])
        >>> f(PackedCompaction().compress(x, torch.tensor([[True, False, True]]))).squeeze(-1).tolist()
        [1.0, 101.0]
    """

    def __init__(
        self, d_model: int, *, kernel_size: int, activation: str = "identity", bias: bool = True
    ) -> None:
        super().__init__()
        check_sizes(d_model=d_model, kernel_size=kernel_size)
        self.kernel_size = kernel_size
        bound = kernel_size**-0.5
        self.weight = nn.Parameter(torch.empty(d_model, 1, kernel_size).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(d_model).uniform_(-bound, bound)) if bias else None
        self.activation = activation_function(activation)

    @override
    def forward(self, elements: Elements) -> Tensor:
        return self._convolve(elements, self._joined(elements, None))

    @override
    def init_state(
        self, batch_size: int, *, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> ConvolutionState:
        shape = (batch_size, self.kernel_size - 1, len(self.weight))
        return ConvolutionState(
            torch.zeros(shape, device=device or self.weight.device, dtype=dtype or self.weight.dtype)
        )

    @override
    def step(self, elements: Elements, state: ConvolutionState) -> Tensor:
        shape = (self.kernel_size - 1, len(self.weight))
        check_state(state, ConvolutionState, elements.n_rows, context=shape)
        joined = self._joined(elements, state.context)
        y = self._convolve(elements, joined)
        newest = self._context_places(elements) + elements.counts[:, None]
        state.context.copy_(joined.detach()[newest])
        return y

    @override
    def flops(self, n: int) -> int:
        return 2 * n * self.weight.numel()

    def _joined(self, elements: Elements, context: Tensor | None) -> Tensor:
        """`(T + B (k - 1), D)`: every row's k - 1 preceding elements, or zeros, and then its slots."""
        n_slots, d_model = elements.x.shape
        joined = elements.x.new_zeros(n_slots + elements.n_rows * (self.kernel_size - 1), d_model)
        joined = joined.index_copy(0, self._results(elements) + self.kernel_size - 1, elements.x)
        if context is None:
            return joined
        places = self._context_places(elements).flatten()
        return joined.index_copy(0, places, context.flatten(0, 1).to(joined))

    def _convolve(self, elements: Elements, joined: Tensor) -> Tensor:
        n_windows = max(len(joined) - self.kernel_size + 1, 0)
        first, *others = self.weight.squeeze(1).unbind(-1)
        y = joined[:n_windows] * first
        for j, tap in enumerate(others, 1):
            y = torch.addcmul(y, joined[j : j + n_windows], tap)
        y = y.index_select(0, self._results(elements))
        return self.activation(y if self.bias is None else y + self.bias)

    def _results(self, elements: Elements) -> Tensor:
        """`(T,)`: for every slot, the window of the joined elements that ends with it."""
        slots = torch.arange(len(elements.x), device=elements.ptr.device)
        return slots + elements.owner * (self.kernel_size - 1)

    def _context_places(self, elements: Elements) -> Tensor:
        """`(B, k - 1)`: where each row's preceding elements stand among the joined."""
        rows = torch.arange(elements.n_rows, device=elements.ptr.device)
        preceding = torch.arange(self.kernel_size - 1, device=elements.ptr.device)
        return (elements.ptr[:-1] + rows * (self.kernel_size - 1))[:, None] + preceding
