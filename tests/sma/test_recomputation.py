"""Activation checkpointing with replayed routing, against the same functions without it."""

import copy
from functools import partial
from threading import Thread

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.checkpoint import CheckpointError, checkpoint, create_selective_checkpoint_contexts

import sma
from sma import SMA, Forced, Router, Routing, forcing, recompute, recomputing, replayed
from sma.modules import (
    GAU,
    ActivationBudget,
    BatchNorm,
    ExpertBank,
    ExpertChoiceRouter,
    GumbelRouter,
    LatentConfigurator,
    MixtureOfExperts,
    TopKRouter,
)
from sma.modules.adapters import SequenceSubModule
from sma.modules.routers import budget, pointwise, top_k
from sma.testing import CausalMean

D, M = 6, 3


class Fickle(Router):
    """Decides otherwise at every call, as if its logits were never the same twice."""

    def __init__(self, n_modules=1, *, d_model=D):
        super().__init__(n_modules)
        self.projection = nn.Linear(d_model, n_modules)
        self.calls = 0

    def forward(self, x, mask=None):
        self.calls += 1
        number = torch.arange(x[..., 0].numel() * self.n_modules).view(*x.shape[:2], self.n_modules)
        active = (number * 7 + 3 * self.calls) % 5 > self.calls % 3
        return Routing(sma.mask_padding(active, mask), self.projection(x).sigmoid())


LAYERS = {
    "windows": lambda router: SMA(router(M), [GAU(D, d_qk=4, window=2, dropout=0.3) for _ in range(M)]),
    "nested": lambda router: SMA(
        router(2), [CausalMean(D), SequenceSubModule(SMA(router(1), [CausalMean(D)]))]
    ),
    "experts": lambda router: MixtureOfExperts(router(M), ExpertBank(D, n_experts=M, d_hidden=5)),
    "full experts": lambda router: MixtureOfExperts(
        router(M), ExpertBank(D, n_experts=M, d_hidden=5), capacity_factor=0.5
    ),
}
ROUTERS = {
    "latent": lambda n: LatentConfigurator(D, n_modules=n),
    "gumbel": lambda n: GumbelRouter(D, n_modules=n),
    "budget": lambda n: ActivationBudget(GumbelRouter(D, n_modules=n), rate=0.2, coefficient=1.0),
    "top k": lambda n: TopKRouter(D, n_modules=n, top_k=min(n, 2), normalize=n > 1, jitter=0.1),
    "expert choice": lambda n: ExpertChoiceRouter(D, n_modules=n, capacity=0.4, d_predictor=3),
    "fickle": Fickle,
}


def results(module, x, mask, run, backward=torch.Tensor.backward):
    """Everything that a training step gives: outputs, losses, gradients, records."""
    module, x = copy.deepcopy(module), x.clone().requires_grad_()
    torch.manual_seed(1)
    with sma.record(module) as recording:
        y = run(module, x, mask)
    losses = recording.losses
    backward(y.square().sum() + sum(losses.values()))
    return {
        "y": y,
        "x": x.grad,
        "next random number": torch.rand(()),
        **losses,
        **{name: parameter.grad for name, parameter in module.named_parameters()},
        **{f"active {i} {layer.name}": layer.routing.active for i, layer in enumerate(recording.layers)},
    }


def plain(module, *args):
    return module(*args)


def check_equal(ours, expected):
    assert ours.keys() == expected.keys()
    for name, value in expected.items():
        assert (ours[name] is None) == (value is None), name
        if value is not None:
            assert torch.equal(ours[name], value), name


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(sorted(LAYERS)), st.sampled_from(sorted(ROUTERS)), st.data())
def test_nothing_changes(layer, router, data):
    torch.manual_seed(data.draw(st.integers(0, 99)))
    module = LAYERS[layer](ROUTERS[router])
    lengths = data.draw(st.lists(st.integers(0, 9), min_size=1, max_size=3))
    mask = torch.arange(9) < torch.tensor(lengths)[:, None]
    x = torch.randn(len(lengths), 9, D)
    expected = results(module, x, mask, plain)
    check_equal(results(module, x, mask, recompute), expected)


@pytest.mark.parametrize("layer", LAYERS)
def test_the_routing_is_replayed(layer):
    """`Fickle` shows that: without the replay other elements would be active the second time."""
    torch.manual_seed(0)
    module, x = LAYERS[layer](Fickle), torch.randn(2, 9, D)
    with pytest.raises(CheckpointError):
        results(module, x, None, lambda module, *args: checkpoint(module, *args, use_reentrant=False))
    expected = results(module, x, None, plain)
    check_equal(results(module, x, None, recompute), expected)


@pytest.mark.parametrize("kind", ["budget", "expert choice", "gumbel", "top k"])
@pytest.mark.parametrize("replays", [True, False])
def test_confidences_and_losses_follow_the_replayed_decisions(kind, replays, monkeypatch):
    """All logits are nearly equal, and a little different the second time, so that other ones are highest."""
    noise, exact = torch.Generator().manual_seed(0), pointwise.in_float32

    def in_float32(*args):
        logits = exact(*args)
        return logits + 1e-5 * torch.randn(logits.shape, generator=noise) if recomputing() else logits

    for module in (pointwise, top_k):
        monkeypatch.setattr(module, "in_float32", in_float32)
    if not replays:
        for module in (pointwise, top_k, budget):
            monkeypatch.setattr(module, "replayed", lambda active: active)
    torch.manual_seed(0)
    layer, x = LAYERS["experts"](ROUTERS[kind]).eval(), torch.randn(2, 40, D)
    with torch.no_grad():
        for name, parameter in layer.router.named_parameters():
            parameter.mul_(1e-6 if "projection" in name else 1)
    expected, ours = results(layer, x, None, plain), results(layer, x, None, recompute)
    far = [name for name, value in expected.items() if distance(ours[name], value) > 1e-3]
    assert bool(far) == (not replays)


def distance(ours, expected):
    """Relative to what is expected."""
    return (ours.double() - expected.double()).norm() / expected.double().norm().clamp(min=1e-6)


def test_gradients_can_be_taken_twice():
    torch.manual_seed(0)
    layer, x = LAYERS["nested"](Fickle), torch.randn(2, 9, D, requires_grad=True)
    y = recompute(layer, x).square().sum()
    first, second, last = (
        torch.autograd.grad(y, [x, *layer.parameters()], retain_graph=retain, allow_unused=True)
        for retain in (True, True, False)
    )
    for a, b, c in zip(first, second, last, strict=True):
        assert (a is None and b is None and c is None) or (torch.equal(a, b) and torch.equal(b, c))


def test_the_backward_pass_may_run_in_another_thread():
    """As it does on a GPU, where context variables are empty."""

    def backward(loss):
        thread = Thread(target=loss.backward)
        thread.start()
        thread.join()

    torch.manual_seed(0)
    module, x = LAYERS["windows"](Fickle), torch.randn(2, 9, D)
    expected = results(module, x, None, plain)
    check_equal(results(module, x, None, recompute, backward), expected)


def test_autocast_is_that_of_the_forward_pass():
    def run(call):
        def in_half_precision(module, *args):
            with torch.autocast("cpu", torch.bfloat16):
                return call(module, *args)

        return in_half_precision

    torch.manual_seed(0)
    module, x = LAYERS["windows"](ROUTERS["budget"]), torch.randn(2, 9, D)
    expected = results(module, x, None, run(plain))
    check_equal(results(module, x, None, run(recompute)), expected)


@pytest.mark.parametrize("inside", [False, True])
def test_a_layer_is_recorded_once(inside):
    layer, x = LAYERS["nested"](Fickle), torch.randn(2, 9, D, requires_grad=True)
    with sma.record(layer) as recording:
        y = recompute(layer, x)
        if inside:
            y.sum().backward()
    if not inside:
        y.sum().backward()
    assert [record.name for record in recording.layers] == ["", "sub_modules.1.module"]
    assert x.grad is not None


def test_losses_alone_bring_gradients():
    layer, x = LAYERS["windows"](ROUTERS["budget"]), torch.randn(2, 9, D)
    with sma.record() as recording:
        recompute(layer, x.requires_grad_())
    recording.losses["activation_budget"].backward()
    assert x.grad.abs().sum() > 0


def test_an_inner_one_is_part_of_the_outer():
    torch.manual_seed(0)
    inner, x = SMA(Fickle(), [CausalMean(D)]), torch.randn(2, 9, D)
    expected = results(inner, x, None, plain)
    nested = lambda module, *args: recompute(lambda *more: recompute(module, *more), *args)  # noqa: E731
    check_equal(results(inner, x, None, nested), expected)


def test_running_averages_move_once():
    norms, x = [BatchNorm(D), BatchNorm(D)], torch.randn(2, 5, D, requires_grad=True)
    norms[0](x).sum().backward()
    recompute(norms[1], x).sum().backward()
    for buffer, expected in zip(norms[1].buffers(), norms[0].buffers(), strict=True):
        assert torch.equal(buffer, expected)


def test_without_gradients_it_is_the_function():
    seen = []
    with torch.no_grad():
        assert recompute(lambda x: seen.append(recomputing()) or x, 3) == 3
    assert seen == [False]


def selective(function, *args):
    keep_products = partial(create_selective_checkpoint_contexts, [torch.ops.aten.mm.default])
    return checkpoint(function, *args, use_reentrant=False, context_fn=keep_products)


TORCHS = {
    "not reentrant": partial(checkpoint, use_reentrant=False),
    "reentrant": partial(checkpoint, use_reentrant=True),
    "selective": selective,
}


@pytest.mark.filterwarnings("ignore:the losses activation_budget were recorded without gradients")
@pytest.mark.parametrize("run", TORCHS.values(), ids=TORCHS)
def test_a_layer_under_torchs_own_checkpointing_is_recorded_once(run):
    budget = lambda n: ActivationBudget(LatentConfigurator(D, n_modules=n), rate=0.2, coefficient=1.0)  # noqa: E731
    layer = nn.Sequential(LAYERS["nested"](budget), BatchNorm(D))
    x = torch.randn(2, 9, D, requires_grad=True)
    norm = copy.deepcopy(layer[1])
    with sma.record(layer) as recording:
        y = run(layer, x)
        calls, flops, losses = len(recording.layers), recording.flops, recording.losses
        y.sum().backward()
        assert (len(recording.layers), recording.flops, recording.losses) == (calls, flops, losses)
    assert [record.name for record in recording.layers] == ["0", "0.sub_modules.1.module"]
    norm(layer[0](x))
    for buffer, expected in zip(layer[1].buffers(), norm.buffers(), strict=True):
        assert torch.equal(buffer, expected), "running averages move once"


def test_losses_that_torchs_reentrant_checkpointing_records_have_no_gradient_and_a_warning_says_so():
    layer, x = LAYERS["windows"](ROUTERS["budget"]), torch.randn(2, 9, D, requires_grad=True)
    with sma.record(layer) as recording:
        y = checkpoint(layer, x, use_reentrant=True)
        assert not recording.losses["activation_budget"].requires_grad
        with pytest.warns(UserWarning, match="activation_budget were recorded without gradients"):
            y.sum().backward()


def test_a_function_that_routes_otherwise_is_an_error():
    def growing(x):
        shape = (2 if recomputing() else 1,)
        return x.exp() * replayed(torch.ones(shape, dtype=torch.bool))

    def more(x):
        for _ in range(2 if recomputing() else 1):
            replayed(torch.ones(1, dtype=torch.bool))
        return x.exp()

    for function, message in ((growing, r"the first time it was \(1,\)"), (more, "the first time there was")):
        y = recompute(function, torch.ones(1, requires_grad=True))
        with pytest.raises(RuntimeError, match=message):
            y.backward()
        assert not recomputing()


def decided(model, x, mask=None):
    with sma.record(model) as recording:
        y = model(x) if mask is None else model(x, mask)
    return y, {layer.name: layer.routing for layer in recording.layers}


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("router", [name for name in ROUTERS if name != "fickle"])
def test_a_decision_is_forced_and_nothing_else_of_its_layer(kind, router):
    """Against the layer with a router that simply makes the changed decisions."""
    torch.manual_seed(0)
    layer = LAYERS[kind](ROUTERS[router]).eval()
    x = torch.randn(2, 7, D)
    _, before = decided(layer, x)
    where = torch.zeros_like(before[""].active)
    where[1, 3, 0] = where[0, 6, 1] = True
    with forcing(layer, {"": Forced(where, ~before[""].active)}):
        y, after = decided(layer, x)
    assert torch.equal(after[""].active, before[""].active ^ where)
    expected = copy.deepcopy(layer)
    expected.router = Given(after[""])
    torch.testing.assert_close(y, expected(x))
    torch.testing.assert_close(layer(x), decided(layer, x)[0])  # outside the block all is as it was


class Given(Router):
    """Decides what it is told."""

    def __init__(self, routing):
        super().__init__(routing.active.shape[-1])
        self.routing = routing

    def forward(self, x, mask=None):
        return self.routing


def test_routers_whose_confidence_depends_on_the_decision_know_of_it():
    layer = SMA(ActivationBudget(GumbelRouter(D), rate=0.5, coefficient=1.0), [CausalMean(D)]).eval()
    x = torch.randn(1, 4, D)
    where = torch.ones(1, 4, 1, dtype=torch.bool)
    for active in (where, ~where):
        with forcing(layer, {"": Forced(where, active)}):
            assert torch.equal(decided(layer, x)[1][""].confidence, active.float())


def test_padding_stays_inactive():
    layer = SMA(TopKRouter(D, n_modules=2, top_k=1, normalize=False), [CausalMean(D), CausalMean(D)]).eval()
    mask = torch.tensor([[True, True, False]])
    everywhere = torch.ones(1, 3, 2, dtype=torch.bool)
    with forcing(layer, {"": Forced(everywhere, everywhere)}):
        _, found = decided(layer, torch.randn(1, 3, D), mask)
    assert found[""].active.tolist() == [[[True, True], [True, True], [False, False]]]


def test_later_layers_decide_anew_and_earlier_ones_do_not():
    torch.manual_seed(0)
    model = nn.Sequential(*(LAYERS["windows"](ROUTERS["latent"]) for _ in range(3))).eval()
    x = torch.randn(1, 9, D)
    _, before = decided(model, x)
    everywhere = torch.ones_like(before["1"].active)
    with forcing(model, {"1": Forced(everywhere, ~before["1"].active)}):
        _, after = decided(model, x)
    assert torch.equal(after["0"].active, before["0"].active)
    assert torch.equal(after["1"].active, ~before["1"].active)
    assert not torch.equal(after["2"].active, before["2"].active)


def test_a_nested_layer_is_not_forced_by_the_one_around_it():
    inner = SMA(Given(Routing(torch.tensor([[[True], [False]]]), torch.ones(1, 2, 1))), [CausalMean(D)])
    layer = SMA(
        Given(Routing(torch.ones(1, 2, 1, dtype=torch.bool), torch.ones(1, 2, 1))), [SequenceSubModule(inner)]
    )
    x, where = torch.randn(1, 2, D), torch.ones(1, 2, 1, dtype=torch.bool)
    with forcing(layer, {"": Forced(where, where)}):
        _, found = decided(layer, x)
    assert found["sub_modules.0.module"].active.flatten().tolist() == [True, False]


def test_what_cannot_be_forced_is_named():
    layer = nn.Sequential(SMA(LatentConfigurator(D), [CausalMean(D)]))
    where = torch.ones(1, 3, 1, dtype=torch.bool)
    with (
        pytest.raises(ValueError, match="no routed layer 'a' in the model; it has: 0"),
        forcing(layer, {"a": Forced(where, where)}),
    ):
        pass
    with (
        pytest.raises(ValueError, match=r"layer '0' are \(1, 3, 1\)"),
        forcing(layer, {"0": Forced(where, where)}),
    ):
        layer(torch.randn(2, 3, D))
    assert layer(torch.randn(2, 3, D)).shape == (2, 3, D)
    with (
        pytest.raises(ValueError, match=r"x must be \(B, L, "),  # the error that it was
        forcing(layer, {"0": Forced(where, where)}),
    ):
        layer(torch.randn(3, D))
