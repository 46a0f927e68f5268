import math
from itertools import product

import pytest
import torch
from random_routers import D, batch, make

from sma.modules.routers.top_k import ExpertChoiceRouter, TopKRouter
from sma.testing import RouterContract

M = 4


class TestTopKRouter(RouterContract):
    def make(self):
        return TopKRouter(self.d_model, n_modules=3, top_k=2)

    def reachable(self, n_modules):
        return {subset for subset in super().reachable(n_modules) if sum(subset) == 2}


class TestExpertChoiceRouter(RouterContract):
    def make(self):
        return ExpertChoiceRouter(self.d_model, n_modules=2, capacity=0.4)


class TestExpertChoiceRouterWithPredictor(RouterContract):
    test_steps = None  # steps approximate: see test_a_trained_predictor_decodes_nearly_as_forward_decides

    def make(self):
        return ExpertChoiceRouter(self.d_model, n_modules=2, capacity=0.4, d_predictor=3)


def softmax(logits):
    exponentials = [math.exp(value) for value in logits]
    return [value / sum(exponentials) for value in exponentials]


@pytest.mark.parametrize(("top_k", "normalize"), [(1, False), (2, False), (2, True), (M, False), (M, True)])
def test_token_choice(top_k, normalize):
    router = make(TopKRouter, M, top_k=top_k, normalize=normalize)
    x, mask = batch()
    routing = router(x, mask)
    assert not routing.active[~mask].any()
    for b, t in mask.nonzero().tolist():
        p = softmax((router.projection.weight @ x[b, t]).tolist())
        chosen = sorted(range(M), key=lambda m: -p[m])[:top_k]
        assert routing.active[b, t].nonzero().flatten().tolist() == sorted(chosen)
        total = sum(p[m] for m in chosen) if normalize else 1
        for m in chosen:
            assert routing.confidence[b, t, m].item() == pytest.approx(p[m] / total)


@pytest.mark.parametrize("top_k", [1, 2])
def test_losses(top_k):
    router = make(TopKRouter, M, top_k=top_k, normalize=False, balance_coefficient=0.5, z_coefficient=0.25)
    x, mask = batch()
    routing = router(x, mask)
    logits = [(router.projection.weight @ element).tolist() for element in x[mask]]
    probabilities = [softmax(row) for row in logits]
    share = routing.active.sum((0, 1)) / (7 * top_k)
    balance = sum(share[m].item() * sum(p[m] for p in probabilities) / 7 for m in range(M))
    z = sum(math.log(sum(math.exp(value) for value in row)) ** 2 for row in logits) / 7
    assert routing.losses["load_balance"].item() == pytest.approx(0.5 * M * balance)
    assert routing.losses["router_z"].item() == pytest.approx(0.25 * z)


def test_uniform_routing_costs_the_coefficient():
    router = TopKRouter(M, n_modules=M, top_k=1, normalize=False, balance_coefficient=0.5)
    router.projection.weight.data.copy_(torch.eye(M))
    loss = router(torch.eye(M)[None]).losses["load_balance"]
    assert loss.item() == pytest.approx(0.5)


def test_losses_can_be_left_out():
    assert make(TopKRouter, M, top_k=2, balance_coefficient=0, z_coefficient=0)(batch()[0]).losses == {}


def test_jitter_scales_the_input_in_training_only():
    router = make(TopKRouter, M, top_k=2, jitter=0.5)
    x, mask = batch()
    kept = x.clone()
    jittered = router(x, mask)
    torch.testing.assert_close(x, kept, equal_nan=True)
    torch.manual_seed(0)
    noise = torch.empty_like(x).uniform_(0.5, 1.5)
    torch.manual_seed(0)
    routing = router(x, mask)
    plain = router.eval()
    torch.testing.assert_close(routing.confidence[mask], plain(x * noise, mask).confidence[mask])
    assert not torch.equal(plain(x, mask).confidence[mask], jittered.confidence[mask])


ROUTERS = {
    "token choice": lambda: make(TopKRouter, M, top_k=2),
    "switch": lambda: make(TopKRouter, M, top_k=1, normalize=False),
    "expert choice": lambda: make(ExpertChoiceRouter, M, capacity=0.4),
    "expert choice, softmax": lambda: make(ExpertChoiceRouter, M, capacity=0.4, softmax=True),
    "expert choice, predictor": lambda: make(ExpertChoiceRouter, M, capacity=0.4, d_predictor=3),
}


@pytest.mark.parametrize("name", ROUTERS)
def test_padding_leaks_into_no_gradient(name):
    router = ROUTERS[name]()
    x, mask = batch()
    x.requires_grad_()
    routing = router(x, mask)
    (routing.confidence[routing.active].sum() + sum(routing.losses.values())).backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in router.parameters())
    assert (x.grad[~mask] == 0).all()


@pytest.mark.parametrize("name", ROUTERS)
def test_gradcheck(name):
    router = ROUTERS[name]()
    x = torch.randn(2, 4, D, dtype=torch.float64, requires_grad=True)
    mask = torch.tensor([[True, True, True, True], [True, True, False, False]])
    active = router(x, mask).active

    def run(x, *_):
        routing = router(x, mask)
        losses = [loss for name, loss in routing.losses.items() if name != "choice_predictor"]
        return (routing.confidence[active], *losses)

    trained = [p for name, p in router.named_parameters() if not name.startswith("predictor")]
    assert torch.autograd.gradcheck(run, (x, *trained))


@pytest.mark.parametrize("name", ROUTERS)
@pytest.mark.parametrize("shape", [(0, 3), (2, 0), (2, 3)])
def test_without_real_elements(name, shape):
    router = ROUTERS[name]()
    x = torch.full((*shape, D), 1e3, dtype=torch.float64)
    routing = router(x, torch.zeros(shape, dtype=torch.bool))
    assert not routing.active.any()
    assert all(loss == 0 for loss in routing.losses.values())
    (routing.confidence[routing.active].sum() + sum(routing.losses.values())).backward()
    assert all((parameter.grad == 0).all() for parameter in router.parameters())


@pytest.mark.parametrize("name", ROUTERS)
def test_rows_are_independent(name):
    router = ROUTERS[name]()
    x, mask = batch((5, 3, 1))
    together = router(x, mask)
    for row, length in enumerate((5, 3, 1)):
        alone = router(x[row : row + 1, :length])
        assert (together.active[row, :length] == alone.active[0]).all()
        torch.testing.assert_close(together.confidence[row, :length], alone.confidence[0])


@pytest.mark.parametrize("softmax_scores", [True, False])
@pytest.mark.parametrize("capacity", [0.1, 0.3, 0.5, 1.0])
def test_expert_choice(capacity, softmax_scores):
    router = make(ExpertChoiceRouter, M, capacity=capacity, softmax=softmax_scores)
    lengths = (10, 7, 1, 0)
    x, mask = batch(lengths)
    routing = router(x, mask)
    for b, length in enumerate(lengths):
        scores = [
            (router.projection.weight @ x[b, t] + router.projection.bias).tolist() for t in range(length)
        ]
        scores = [softmax(s) if softmax_scores else [1 / (1 + math.exp(-v)) for v in s] for s in scores]
        n_chosen = math.ceil(round(capacity * length, 6))
        for m in range(M):
            chosen = sorted(range(length), key=lambda t, m=m: -scores[t][m])[:n_chosen]
            assert routing.active[b, :, m].nonzero().flatten().tolist() == sorted(chosen)
            for t in chosen:
                assert routing.confidence[b, t, m].item() == pytest.approx(scores[t][m])


def test_equal_scores_go_to_the_earlier():
    router = ExpertChoiceRouter(D, n_modules=1, capacity=0.5)
    assert router(torch.zeros(1, 4, D)).active[0, :, 0].tolist() == [True, True, False, False]


def test_expert_choice_reaches_every_subset():
    """An element's scores, and those of its only rival, select any subset of modules for it."""
    for subset in product((False, True), repeat=M):
        router = ExpertChoiceRouter(1, n_modules=M, capacity=0.5)
        router.projection.weight.data.copy_(torch.where(torch.tensor(subset), 1.0, -1.0)[:, None])
        active = router(torch.tensor([[[1.0], [0.0]]])).active
        assert tuple(active[0, 0].tolist()) == subset


def test_the_predictor_is_trained_by_its_loss_alone():
    router = make(ExpertChoiceRouter, M, capacity=0.4, d_predictor=3)
    x, mask = batch()
    x.requires_grad_()
    routing = router(x, mask)
    elements = torch.where(mask[..., None], x, 0)
    logits = router.predictor.out(torch.nn.functional.silu(router.predictor.hidden(elements)))
    p = 1 / (1 + torch.exp(-logits[mask]))
    errors = -torch.where(routing.active[mask], p.log(), (1 - p).log())
    torch.testing.assert_close(routing.losses["choice_predictor"], errors.mean())

    routing.losses["choice_predictor"].backward(retain_graph=True)
    assert x.grad is None
    assert router.projection.weight.grad is None
    assert (router.predictor.hidden.weight.grad != 0).any()
    router.zero_grad()
    routing.confidence[routing.active].sum().backward()
    assert all((p.grad == 0).all() for p in router.predictor.parameters())


def test_a_trained_predictor_decodes_nearly_as_forward_decides():
    torch.manual_seed(0)
    router = ExpertChoiceRouter(D, n_modules=2, capacity=0.3, d_predictor=16)
    torch.nn.init.normal_(router.projection.weight)
    x = torch.randn(8, 64, D)
    optimizer = torch.optim.Adam(router.predictor.parameters(), lr=0.02)
    for _ in range(150):
        optimizer.zero_grad()
        router(x).losses["choice_predictor"].backward()
        optimizer.step()
    forward, state = router(x), router.init_state(8)
    steps = [router.step(x[:, t : t + 1], state) for t in range(64)]
    decided = torch.cat([s.active for s in steps], 1)
    assert (decided == forward.active).double().mean() > 0.9
    torch.testing.assert_close(torch.cat([s.confidence for s in steps], 1), forward.confidence)
    mask = torch.tensor([[True]] * 4 + [[False]] * 4)
    assert not router.step(x[:, :1], state, mask).active[4:].any()


def test_expert_choice_does_not_decode_without_a_predictor():
    router = make(ExpertChoiceRouter, M, capacity=0.4)
    assert not router.causal
    with pytest.raises(NotImplementedError, match="d_predictor"):
        router.init_state(2)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: TopKRouter(D, n_modules=4, top_k=5), "top_k must be between 1 and n_modules=4, got 5"),
        (lambda: TopKRouter(D, n_modules=4, top_k=1), "normalize=False"),
        (lambda: ExpertChoiceRouter(D, n_modules=4, capacity=0.0), r"capacity.*0\.0"),
        (lambda: ExpertChoiceRouter(D, n_modules=1, capacity=0.5, softmax=True), "leave softmax False"),
    ],
)
def test_errors(build, message):
    with pytest.raises(ValueError, match=message):
        build()
