import pytest
import torch
from torch import nn

from sma import CapacityCompaction, PackedCompaction
from sma.modules.convolution import CausalConvolution
from sma.testing import SubModuleContract

D = 5


class TestCausalConvolution(SubModuleContract):
    def make(self):
        return CausalConvolution(self.d_model, kernel_size=3, activation="silu")


def batch():
    x = torch.randn(4, 9, D, dtype=torch.float64)
    active = torch.rand(4, 9) > 0.4
    active[1] = False
    active[2] = True
    return x, active


@pytest.mark.parametrize("kernel_size", [1, 2, 4, 20])
@pytest.mark.parametrize("compaction", [PackedCompaction(), CapacityCompaction(1.0)])
def test_equals_a_convolution_of_each_row(kernel_size, compaction):
    module = CausalConvolution(D, kernel_size=kernel_size).double()
    theirs = nn.Conv1d(D, D, kernel_size, padding=kernel_size - 1, groups=D).double()
    theirs.load_state_dict(module.state_dict())
    x, active = batch()
    elements = compaction.compress(x, active)
    y = module(elements)
    for row in range(4):
        alone = x[row, active[row]].T
        expected = theirs(alone)[:, : alone.shape[1]].T if alone.shape[1] else alone.T
        torch.testing.assert_close(y[elements.row == row], expected)


@pytest.mark.parametrize("kernel_size", [1, 3])
def test_the_state_holds_the_last_active_elements(kernel_size):
    module = CausalConvolution(D, kernel_size=kernel_size).double()
    x, active = batch()
    state = module.init_state(4)
    assert state.context.dtype == torch.float64
    for chunk in (slice(0, 1), slice(1, 6), slice(6, 9)):
        module.step(PackedCompaction().compress(x[:, chunk], active[:, chunk]), state)
    for row in range(4):
        seen = torch.cat([torch.zeros(kernel_size, D, dtype=torch.float64), x[row, active[row]]])
        torch.testing.assert_close(state.context[row], seen[len(seen) - (kernel_size - 1) :])
    assert not state.context.requires_grad


def test_without_bias():
    module = CausalConvolution(D, kernel_size=3, bias=False)
    assert [name for name, _ in module.named_parameters()] == ["weight"]
    assert module.flops(10) == 10 * 2 * 3 * D


def test_kernel_size_is_checked():
    with pytest.raises(ValueError, match="kernel_size=0 must be an integer of at least 1"):
        CausalConvolution(D, kernel_size=0)
