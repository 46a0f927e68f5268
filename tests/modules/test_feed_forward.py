import pytest
import torch

from sma import PackedCompaction
from sma.modules.feed_forward import FeedForward, GatedFeedForward
from sma.testing import SubModuleContract

D, H = 6, 10


def elements():
    x, active = torch.randn(2, 5, D, dtype=torch.float64), torch.rand(2, 5) > 0.4
    return PackedCompaction().compress(x, active)


class TestFeedForward(SubModuleContract):
    def make(self):
        return FeedForward(self.d_model, d_hidden=5)


class TestGatedFeedForward(SubModuleContract):
    def make(self):
        return GatedFeedForward(self.d_model, d_hidden=5, bias=True)


@pytest.mark.parametrize("bias", [True, False])
def test_feed_forward(bias):
    module = FeedForward(D, d_hidden=H, activation="relu", bias=bias).double()
    batch = elements()
    for x, y in zip(batch.x, module(batch), strict=True):
        hidden = module.hidden.weight @ x + (module.hidden.bias if bias else 0)
        expected = module.out.weight @ hidden.clamp(min=0) + (module.out.bias if bias else 0)
        torch.testing.assert_close(y, expected)


def test_gated_feed_forward():
    module = GatedFeedForward(D, d_hidden=H).double()
    batch = elements()
    for x, y in zip(batch.x, module(batch), strict=True):
        gate, hidden = module.gate_and_hidden.weight[:H] @ x, module.gate_and_hidden.weight[H:] @ x
        torch.testing.assert_close(y, module.out.weight @ (gate / (1 + torch.exp(-gate)) * hidden))


@pytest.mark.parametrize("kind", [FeedForward, GatedFeedForward])
def test_dropout_acts_in_training_only(kind):
    module = kind(D, d_hidden=H, dropout=1.0, bias=False).double()
    batch = elements()
    assert (module(batch) == 0).all()
    assert (module.eval()(batch) != 0).any()


def test_flops_count_the_matrices():
    assert FeedForward(D, d_hidden=H).flops(7) == 7 * 2 * 2 * D * H
    assert GatedFeedForward(D, d_hidden=H).flops(7) == 7 * 3 * 2 * D * H


def test_an_unknown_activation_is_refused():
    with pytest.raises(ValueError, match="unknown activation 'swish'"):
        FeedForward(D, d_hidden=H, activation="swish")
