import math

import pytest
import torch

import sma
from sma.modules.experts import ExpertBank, MixtureOfExperts
from sma.modules.feed_forward import FeedForward, GatedFeedForward
from sma.modules.routers.pointwise import LatentConfigurator
from sma.modules.routers.top_k import TopKRouter
from sma.testing import SequenceModuleContract

D, H, E = 6, 10, 4


class TestMixtureOfExperts(SequenceModuleContract):
    jumps = True

    def make(self):
        return mixture(self.d_model)


class TestMixtureOfExpertsWithCapacity(SequenceModuleContract):
    jumps = True

    def make(self):
        return mixture(self.d_model, capacity_factor=1.0)


class TestMixtureOfIndependentExperts(SequenceModuleContract):
    """Any number of experts per element, none included."""

    jumps = True

    def make(self):
        router = LatentConfigurator(self.d_model, n_modules=E)
        return MixtureOfExperts(
            router, ExpertBank(self.d_model, n_experts=E, d_hidden=5, gated=False), capacity_factor=0.5
        )


def mixture(d_model=D, *, gated=True, top_k=2, **arguments):
    router = TopKRouter(d_model, n_modules=E, top_k=top_k, normalize=top_k > 1)
    return MixtureOfExperts(router, ExpertBank(d_model, n_experts=E, d_hidden=H, gated=gated), **arguments)


def apart(layer):
    """The same experts as sub-modules of their own behind the same router."""
    experts = []
    for w_in, w_out in zip(layer.bank.weight_in.detach(), layer.bank.weight_out.detach(), strict=True):
        if layer.bank.gated:
            expert = GatedFeedForward(D, d_hidden=H).double()
            expert.gate_and_hidden.weight.data.copy_(w_in.T)
        else:
            expert = FeedForward(D, d_hidden=H, activation="silu", bias=False).double()
            expert.hidden.weight.data.copy_(w_in.T)
        expert.out.weight.data.copy_(w_out.T)
        experts.append(expert)
    return sma.SMA(layer.router, experts)


def batch(lengths=(7, 3, 0)):
    x = torch.randn(len(lengths), max(lengths), D, dtype=torch.float64)
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    return x.masked_fill(~mask[..., None], float("nan")), mask


def loud(layer):
    """The layer in float64 with weights of order 1, so that tolerances mean something."""
    layer = layer.double()
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter)
    return layer


@pytest.mark.parametrize("gated", [True, False])
@pytest.mark.parametrize("top_k", [1, 2, E])
def test_equals_sparse_modular_activation_of_single_experts(gated, top_k):
    layer = loud(mixture(gated=gated, top_k=top_k))
    reference = apart(layer)
    x, mask = batch()
    leaves = [x.clone().requires_grad_(), x.clone().requires_grad_()]
    weight = torch.randn_like(x)
    results, router_gradients = [], []
    for module, leaf in zip((layer, reference), leaves, strict=True):
        layer.router.zero_grad()
        y = module(leaf, mask)
        (y * weight).sum().backward()
        results.append(y)
        router_gradients.append(layer.router.projection.weight.grad.clone())
    torch.testing.assert_close(*results)
    torch.testing.assert_close(*router_gradients)
    torch.testing.assert_close(leaves[0].grad, leaves[1].grad)
    for e, expert in enumerate(reference.sub_modules):
        torch.testing.assert_close(layer.bank.weight_out.grad[e], expert.out.weight.grad.T)
        first = next(expert.parameters())
        torch.testing.assert_close(layer.bank.weight_in.grad[e], first.grad.T)


def test_the_record_is_that_of_single_experts():
    layer = loud(mixture())
    x, mask = batch()
    records = []
    for module in (layer, apart(layer)):
        with sma.record(module) as recording:
            module(x, mask)
        records.append(recording.layers[0])
    ours, theirs = records
    assert len(recording.layers) == 1
    assert ours.flops == theirs.flops
    assert ours.n_elements.tolist() == theirs.n_elements.tolist()
    assert ours.overflow.tolist() == [0] * E
    assert set(ours.routing.losses) == {"load_balance", "router_z"}


def taken_by_hand(active, factor):
    """One row, one assignment after another."""
    taken, assigned, kept = [0] * E, 0, []
    for chosen in active.tolist():
        assigned += sum(chosen)
        share = math.ceil(round(factor * assigned / E, 6))
        now = [c and taken[e] < share for e, c in enumerate(chosen)]
        taken = [t + n for t, n in zip(taken, now, strict=True)]
        kept.append(now)
    return torch.tensor(kept).view(-1, E)


class Careless(sma.Router):
    """Activates padding as well."""

    def forward(self, x, mask=None):
        everywhere = torch.ones(*x.shape[:2], self.n_modules)
        return sma.Routing(everywhere.bool(), everywhere)


def test_padding_is_inactive_whatever_a_router_returns():
    layer = MixtureOfExperts(Careless(E), ExpertBank(D, n_experts=E, d_hidden=H), capacity_factor=0.5)
    x, mask = torch.randn(1, 6, D), torch.arange(6)[None] >= 3
    torch.testing.assert_close(layer(x, mask)[:, 3:], layer(x[:, 3:]))


@pytest.mark.parametrize("factor", [0.25, 0.5, 1.0, 1.25, 4.0])
def test_capacity(factor):
    layer = loud(mixture(capacity_factor=factor))
    x, mask = batch((30, 11, 0))
    x = x + 0.5  # some experts are preferred
    active = layer.router(x, mask).active
    kept = torch.zeros_like(active)
    for row, length in enumerate((30, 11, 0)):
        kept[row, :length] = taken_by_hand(active[row, :length], factor)
    with sma.record(layer) as recording:
        y = layer(x, mask)
    record = recording.layers[0]
    assert record.n_elements.tolist() == kept.sum((0, 1)).tolist()
    assert record.overflow.tolist() == (active & ~kept).sum((0, 1)).tolist()
    assert (record.overflow.sum() > 0) == (factor < 2)
    for row, length in enumerate((30, 11, 0)):
        assert (kept[row].sum(0) <= math.ceil(factor * 2 * length / E)).all()

    confidence = layer.router(x, mask).confidence
    experts = apart(layer).sub_modules
    expected = torch.zeros_like(y)
    for b, t, e in kept.nonzero().tolist():
        element = sma.PackedCompaction().compress(x[b : b + 1, t : t + 1], torch.ones(1, 1, dtype=torch.bool))
        expected[b, t] += confidence[b, t, e] * experts[e](element)[0]
    torch.testing.assert_close(y, expected)


@pytest.mark.parametrize("gated", [True, False])
@pytest.mark.parametrize("counts", [[3, 0, 5, 1], [0, 0, 0, 9], [0, 0, 0, 0]])
def test_grouped_products_equal_the_loop(gated, counts):
    bank = ExpertBank(8, n_experts=E, d_hidden=16, gated=gated)
    if not hasattr(torch.nn.functional, "grouped_mm"):
        pytest.skip("this torch has no grouped_mm")
    x = torch.randn(sum(counts), 8)
    if not len(x):
        assert bank(x, torch.tensor(counts)).shape == (0, 8)
        return
    weight = torch.randn(sum(counts), 8)
    results = []
    for run in (bank, bank._grouped):
        leaf = x.clone().requires_grad_()
        y = run(leaf, torch.tensor(counts))
        bank.zero_grad()
        (y * weight).sum().backward()
        results.append([y, leaf.grad, bank.weight_in.grad.clone(), bank.weight_out.grad.clone()])
    for loop, grouped in zip(*results, strict=True):
        torch.testing.assert_close(grouped, loop)


def test_grouped_products_follow_autocast():
    bank, counts = ExpertBank(8, n_experts=2, d_hidden=16), torch.tensor([2, 3])
    x = torch.randn(5, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert bank(x, counts).dtype == torch.bfloat16
        if hasattr(torch.nn.functional, "grouped_mm"):
            torch.testing.assert_close(bank._grouped(x, counts), bank(x, counts), rtol=0.05, atol=1e-4)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_grouped_products_on_cuda():
    bank = ExpertBank(64, n_experts=4, d_hidden=128).cuda().bfloat16()
    counts = torch.tensor([3, 0, 50, 11], device="cuda")
    x = torch.randn(64, 64, device="cuda", dtype=torch.bfloat16, requires_grad=True)
    assert bank.is_grouped(x)
    y = bank(x, counts)
    (y * y.detach()).sum().backward()
    torch.testing.assert_close(
        y.cpu().float(), bank.cpu().float()(x.cpu().float(), counts.cpu()), rtol=0.05, atol=1e-3
    )


@pytest.mark.skipif(not hasattr(torch.nn.functional, "grouped_mm"), reason="this torch has no grouped_mm")
@pytest.mark.parametrize("capacity_factor", [None, 0.8])
def test_the_path_of_devices_equals_that_of_the_cpu(monkeypatch, capacity_factor):
    """A list of constant length, grouped products; the mask makes some of the list unreal."""
    router = TopKRouter(8, n_modules=4, top_k=2)
    experts = MixtureOfExperts(
        router, ExpertBank(8, n_experts=4, d_hidden=8), capacity_factor=capacity_factor
    )
    x = torch.randn(2, 7, 8, requires_grad=True)
    mask = torch.arange(7) < torch.tensor([[7], [3]])
    results = []
    for grouped in (False, True):
        monkeypatch.setattr(ExpertBank, "is_grouped", lambda self, x, grouped=grouped: grouped)
        y = experts(x, mask)
        results.append([y, *torch.autograd.grad(y.square().sum(), [x, *experts.parameters()])])
    for loop, grouped in zip(*results, strict=True):
        torch.testing.assert_close(grouped, loop)


def test_dropout_acts_in_training_only():
    bank = ExpertBank(D, n_experts=1, d_hidden=H, dropout=1.0)
    x, counts = torch.randn(3, D), torch.tensor([3])
    assert (bank(x, counts) == 0).all()
    assert (bank.eval()(x, counts) != 0).any()


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: ExpertBank(D, n_experts=0, d_hidden=H), "n_experts=0 must be an integer of at least 1"),
        (lambda: mixture(capacity_factor=0), "capacity_factor must be positive"),
        (
            lambda: MixtureOfExperts(
                LatentConfigurator(D, n_modules=3), ExpertBank(D, n_experts=E, d_hidden=H)
            ),
            "n_modules=3.*n_experts=4",
        ),
    ],
)
def test_errors(build, message):
    with pytest.raises(ValueError, match=message):
        build()
