"""State-space models: EMA, S4D and Mamba-2, and the linear recurrences behind them."""

from sma.modules.ssm.diagonal import DiagonalSSM, DiagonalState
from sma.modules.ssm.ema import MultiHeadEMA
from sma.modules.ssm.mamba2 import SelectiveSSM, SelectiveState
from sma.modules.ssm.recurrence import Modes
from sma.modules.ssm.s4d import S4D
from sma.modules.ssm.sub_module import SSMSubModule, SSMSubModuleState

__all__ = [
    "S4D",
    "DiagonalSSM",
    "DiagonalState",
    "Modes",
    "MultiHeadEMA",
    "SSMSubModule",
    "SSMSubModuleState",
    "SelectiveSSM",
    "SelectiveState",
]
