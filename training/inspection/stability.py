"""Agreement of the decisions of several runs that differ in their seed."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from torch import Tensor

from sma.training.inspection.decisions import Decisions


@dataclass(frozen=True)
class Stability:
    r"""How far runs decide alike about one routed module.

    Attributes:
        name: of the module.
        rates: of each run.
        agreement: the share of elements about which two runs decide alike; the mean over pairs of runs.
        chance: what it would be if each chose as many elements at random.
        kappa: Cohen's \(\kappa\), (agreement - chance) / (1 - chance): 1 for the same decisions, 0 for
            random ones; None if chance alone makes all agree.
    """

    name: str
    rates: list[float]
    agreement: float
    chance: float
    kappa: float | None


def stability(runs: Sequence[Decisions]) -> list[Stability]:
    """The stability of every routed module; nothing for a single run.

    Args:
        runs: decisions about the same elements, by models of one spec.
    """
    if len(runs) < 2:
        return []
    return [_of(name, [run.active[:, i] for run in runs]) for i, name in enumerate(runs[0].names)]


def _of(name: str, active: Sequence[Tensor]) -> Stability:
    rates = [float(each.float().mean()) for each in active]
    pairs = list(combinations(range(len(active)), 2))
    agreement = sum(float((active[i] == active[j]).float().mean()) for i, j in pairs) / len(pairs)
    chance = sum(rates[i] * rates[j] + (1 - rates[i]) * (1 - rates[j]) for i, j in pairs) / len(pairs)
    kappa = (agreement - chance) / (1 - chance) if chance < 1 else None
    return Stability(name, rates, agreement, chance, kappa)
