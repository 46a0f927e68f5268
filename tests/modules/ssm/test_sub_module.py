import pytest
import torch

from sma import SMA, PackedCompaction, SubModule
from sma.modules import S4D, AlwaysActive, MultiHeadEMA, SSMSubModule
from sma.modules.ssm.diagonal import DiagonalSSM
from sma.testing import SubModuleContract


class TestEMA(SubModuleContract):
    def make(self) -> SubModule:
        return SSMSubModule(MultiHeadEMA(self.d_model, d_state=2))


class TestTruncatedEMA(SubModuleContract):
    def make(self) -> SubModule:
        return SSMSubModule(MultiHeadEMA(self.d_model, d_state=2, truncation=3))


class TestBidirectionalS4D(SubModuleContract):
    def make(self) -> SubModule:
        return SSMSubModule(S4D(self.d_model, d_state=2, bidirectional=True))


@pytest.mark.parametrize(
    "ssm", [MultiHeadEMA(3), MultiHeadEMA(3, truncation=5), S4D(3, d_state=4)], ids=["ema", "cut", "s4d"]
)
def test_time_passes_in_gaps(ssm: DiagonalSSM) -> None:
    """A skipped element is an input of zero; results are those of the whole row at the active places."""
    ssm = ssm.double()
    x = torch.randn(2, 100, 3, dtype=torch.float64)
    active = torch.rand(2, 100) < 0.2
    elements = PackedCompaction().compress(x, active)
    whole = ssm(x.masked_fill(~active[..., None], 0))
    torch.testing.assert_close(SSMSubModule(ssm)(elements), whole[active])


def test_with_everything_active_it_is_the_model() -> None:
    ema = MultiHeadEMA(3).double()
    layer = SMA(AlwaysActive(1), [SSMSubModule(ema)])
    x = torch.randn(2, 30, 3, dtype=torch.float64)
    torch.testing.assert_close(layer(x), ema(x))
