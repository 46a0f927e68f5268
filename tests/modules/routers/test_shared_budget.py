"""A budget that several parts of a model share."""

import copy

import pytest
import torch

from sma.modules import RandomRouter, SigmoidRouter
from sma.modules.routers.shared_budget import PartRates, SharedBudget

COSTS = [3, 1, 2]


def parts(routers, *, rate=0.4, coefficient=2.0):
    rates = PartRates(COSTS)
    options = {"rate": rate, "coefficient": coefficient, "rates": rates}
    return [SharedBudget(router, **options, part=i) for i, router in enumerate(routers)]


def test_the_losses_are_those_of_one_squared_excess():
    """In the second step with the same input, when all rates are known; the gradient is that of all of it."""
    torch.manual_seed(0)
    inner = [SigmoidRouter(4) for _ in COSTS]
    budgets = parts(inner)
    x = torch.randn(2, 50, 4)
    for budget in budgets:
        budget(x)
    losses = [budget(x).losses["activation_budget"] for budget in budgets]
    straight_through = []
    for router in inner:
        routing = router(x)
        straight_through.append(
            (routing.active + routing.confidence - routing.confidence.detach()).mean() * 1.0
        )
    mean = sum(cost * rate for cost, rate in zip(COSTS, straight_through, strict=True)) / sum(COSTS)
    wanted = 2.0 * len(COSTS) * (mean - 0.4) ** 2
    assert sum(losses).item() == pytest.approx(wanted.item())
    weights = [router.projection.weight for router in inner]
    found, expected = (torch.autograd.grad(loss, weights) for loss in (sum(losses), wanted))
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs)


def test_parts_that_were_not_called_yet_are_left_out():
    budgets = parts([RandomRouter(1, rate=1.0), RandomRouter(1, rate=0.0), RandomRouter(1, rate=0.0)])
    losses = [budget(torch.randn(1, 5, 4)).losses["activation_budget"].item() for budget in budgets]
    means = (1, 3 / 4, 1 / 2)
    shares = (3 / 2, 1 / 2, 1)
    wanted = [2 * share * (mean - 0.4) ** 2 for share, mean in zip(shares, means, strict=True)]
    assert losses == pytest.approx(wanted)


def test_rates_of_parts_on_another_device_are_moved():
    rates = PartRates([1, 1])
    rates.mean(0, torch.tensor(0.5), keep=True)
    assert rates.mean(1, torch.tensor(0.5, device="meta"), keep=False).is_meta


def test_an_evaluation_leaves_no_rates():
    budgets = parts([SigmoidRouter(4) for _ in COSTS])
    x = torch.randn(1, 5, 4)
    for budget in budgets:
        budget.eval()(x)
    assert budgets[0].parts.latest == {}
    budgets[0].train()(x)
    assert list(budgets[0].parts.latest) == [0]


def test_routers_copied_together_share_one_budget():

    copied = copy.deepcopy(torch.nn.ModuleList(parts([SigmoidRouter(4) for _ in COSTS])))
    assert copied[0].parts is copied[2].parts
