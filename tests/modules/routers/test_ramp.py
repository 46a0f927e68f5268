"""Settings that move: values along a ramp, in the state, and without a graph break."""

import pytest
import torch
from torch import nn

from sma.modules import ActivationBudget, GumbelRouter, LatentConfigurator, Ramp, Scheduled, set_progress


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_a_ramp_is_a_line_and_then_constant(dtype):
    setting = Scheduled(Ramp(0.9, 0.3, over=0.5)).to(dtype)
    for progress, expected in [(0.0, 0.9), (0.125, 0.75), (0.25, 0.6), (0.5, 0.3), (0.75, 0.3), (2.0, 0.3)]:
        setting.set_progress(progress)
        assert float(setting()) == pytest.approx(expected)


def test_a_number_never_moves_and_has_no_state():
    setting = Scheduled(0.3)
    setting.set_progress(0.7)
    assert setting() == 0.3
    assert not setting.state_dict()


def test_progress_is_saved_with_the_weights():
    first, second = (GumbelRouter(8, temperature=Ramp(2.0, 0.5)) for _ in range(2))
    set_progress(nn.Sequential(first), 0.4)
    assert float(first.temperature()) == pytest.approx(1.4)
    second.load_state_dict(first.state_dict())
    assert torch.equal(second.temperature(), first.temperature())


def test_a_budget_follows_its_ramps():
    router = ActivationBudget(
        LatentConfigurator(8, n_modules=3), rate=(0.1, Ramp(1.0, 0.2), 0.5), coefficient=1.0
    )
    x = torch.randn(2, 9, 8)
    for progress, second in [(0.0, 1.0), (0.5, 0.6), (1.0, 0.2)]:
        set_progress(router, progress)
        routing = router(x)
        realised = routing.active.flatten(0, 1).float().mean(0).tolist()
        targets = (0.1, second, 0.5)
        expected = sum((rate - target) ** 2 for rate, target in zip(realised, targets, strict=True)) / 3
        assert routing.losses["activation_budget"].item() == pytest.approx(expected)


def test_a_moving_setting_is_compiled_once():
    router = GumbelRouter(4, temperature=Ramp(2.0, 0.5))
    graphs = []

    def count(graph, inputs):
        graphs.append(graph)
        return graph.forward

    @torch.compile(backend=count, fullgraph=True)
    def scaled(x):
        return x / router.temperature()

    for progress in (0.0, 0.5, 1.0):
        set_progress(router, progress)
        torch.testing.assert_close(scaled(torch.ones(3)), torch.ones(3) / (2.0 - 1.5 * progress))
    assert len(graphs) == 1


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Ramp(1.0, 0.5, over=0.0), r"over is a share of training .* got 0\.0"),
        (lambda: Ramp(1.0, 0.5, over=1.5), "over"),
        (lambda: set_progress(Scheduled(1.0), -0.1), r"progress .* got -0\.1"),
        (lambda: Scheduled(1.0).set_progress(float("nan")), "progress"),
        (lambda: GumbelRouter(8, temperature=Ramp(1.0, 0.0)), "temperature must be positive"),
        (lambda: ActivationBudget(GumbelRouter(8), rate=Ramp(0.5, 1.5), coefficient=1.0), "rate"),
    ],
)
def test_errors(build, message):
    with pytest.raises(ValueError, match=message):
        build()
