import pytest
import torch

from sma import NoState, Router, Routing, mask_padding
from sma.testing import InputRouter


def test_routing_refuses_decisions_that_are_not_bool():
    with pytest.raises(ValueError, match=r"must be bool, got torch\.float32"):
        Routing(torch.ones(1, 2, 3), torch.ones(1, 2, 3))


@pytest.mark.parametrize("shape", [(1, 2), (1, 2, 4), (2, 2, 3)])
def test_routing_refuses_unlike_shapes(shape):
    with pytest.raises(ValueError, match=r"must both be \(B, L, M\)"):
        Routing(torch.ones(1, 2, 3, dtype=torch.bool), torch.ones(shape))


def test_routing_refuses_confidences_that_are_not_floating_point():
    with pytest.raises(ValueError, match=r"must be floating point, got torch\.int64"):
        Routing(torch.ones(1, 2, 3, dtype=torch.bool), torch.ones(1, 2, 3, dtype=torch.long))


def test_a_router_needs_a_module():
    with pytest.raises(ValueError, match="n_modules=0 must be an integer of at least 1"):
        InputRouter(0)


def test_mask_padding():
    active = torch.ones(2, 2, 1, dtype=torch.bool)
    mask = torch.tensor([[True, False], [False, True]])
    assert mask_padding(active, None) is active
    assert torch.equal(mask_padding(active, mask).squeeze(-1), mask)


def test_a_router_without_state_steps_as_it_routes():
    router, x = InputRouter(1), torch.randn(2, 3, 4)
    state = router.init_state(2)
    assert isinstance(state, NoState)
    assert torch.equal(router.step(x, state).active, router(x).active)


def test_a_router_that_looks_ahead_cannot_decode():
    class Ahead(InputRouter):
        causal = False

    with pytest.raises(NotImplementedError, match="Ahead decides by looking at later elements"):
        Ahead(1).init_state(2)


def test_router_is_abstract():
    with pytest.raises(TypeError, match="forward"):
        Router(1)
