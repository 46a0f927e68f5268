import pytest
import torch

from sma.modules.routers.fixed import AlwaysActive, NeverActive, RandomRouter
from sma.testing import RouterContract

D = 4


class TestAlwaysActive(RouterContract):
    def make(self):
        return AlwaysActive(2)

    def reachable(self, n_modules):
        return {(True, True)}


class TestNeverActive(RouterContract):
    def make(self):
        return NeverActive(2)

    def reachable(self, n_modules):
        return {(False, False)}


class TestRandomRouter(RouterContract):
    def make(self):
        return RandomRouter(2, rate=0.4)


def mask_of(lengths, length, left=False):
    places = torch.arange(length)
    n = torch.tensor(lengths)[:, None]
    return places >= length - n if left else places < n


@pytest.mark.parametrize("router", [AlwaysActive(2), NeverActive(2), RandomRouter(2, rate=0.5)])
def test_confidence_is_one_and_padding_inactive(router):
    x = torch.full((3, 5, D), float("nan"), dtype=torch.bfloat16)
    mask = mask_of((5, 2, 0), 5)
    routing = router(x, mask)
    assert (routing.confidence == 1).all()
    assert not routing.active[~mask].any()
    assert not list(router.parameters())


def test_always_and_never():
    x, mask = torch.zeros(3, 5, D), mask_of((5, 2, 0), 5)
    assert (AlwaysActive(2)(x, mask).active == mask[..., None]).all()
    assert AlwaysActive(2)(x).active.all()
    assert not NeverActive(2)(x, mask).active.any()
    assert (AlwaysActive(2).max_rate, NeverActive(2).max_rate) == (1, 0)


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.7, 1.0])
@pytest.mark.parametrize("seed", [0, 1, 2**63 - 1])
def test_random_rate(rate, seed):
    active = RandomRouter(3, rate=rate, seed=seed)(torch.zeros(1, 20_000, 1)).active[0].double()
    assert (active.mean(0) - rate).abs().max() < 5 * (rate * (1 - rate) / 20_000) ** 0.5 + 1e-9


def test_random_decisions_are_unrelated():
    """Across modules, seeds and neighbouring places: no correlation beyond 5 deviations."""
    draws = torch.cat(
        [
            RandomRouter(4, rate=0.5, seed=seed)(torch.zeros(1, 20_000, 1)).active[0]
            for seed in (0, 1, 2, 2**32)
        ],
        dim=1,
    ).double()
    draws = torch.cat([draws[1:-1], draws[:-2], draws[2:]], dim=1)
    correlations = torch.corrcoef(draws.T) - torch.eye(draws.shape[1], dtype=torch.float64)
    assert correlations.abs().max() < 5 / 20_000**0.5


def test_random_depends_on_the_place_among_real_elements_only():
    router = RandomRouter(2, rate=0.5, seed=7)
    whole = router(torch.zeros(1, 12, D)).active[0]
    for left in (False, True):
        mask = mask_of((12, 5, 0), 12, left)
        active = router(torch.randn(3, 12, D), mask).active
        assert (active[1][mask[1]] == whole[:5]).all()
        assert (active[0] == whole).all()


def test_random_steps_equal_forward():
    router = RandomRouter(2, rate=0.5, seed=7)
    whole = router(torch.zeros(2, 12, D)).active
    state = router.init_state(2)
    seen = [[], []]
    for lengths in [(3, 1), (0, 4), (1, 1), (8, 2)]:
        mask = mask_of(lengths, 8, left=True)
        active = router.step(torch.zeros(2, 8, D), state, mask).active
        for row in range(2):
            seen[row].append(active[row][mask[row]])
    assert (torch.cat(seen[0]) == whole[0]).all()
    assert (torch.cat(seen[1]) == whole[1, :8]).all()
    assert state.position.tolist() == [12, 8]


@pytest.mark.parametrize("shape", [(0, 3), (2, 0)])
def test_empty(shape):
    for router in (AlwaysActive(2), NeverActive(2), RandomRouter(2, rate=0.5)):
        assert router(torch.zeros(*shape, D)).active.shape == (*shape, 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"rate": 1.5}, r"rate.*1\.5"), ({"rate": 0.5, "seed": -1}, "seed.*-1")],
)
def test_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        RandomRouter(1, **arguments)
