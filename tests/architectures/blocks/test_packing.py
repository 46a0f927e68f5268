import functools

import pytest
import torch
from torch import nn

import sma
from sma import CapacityCompaction, PerElement, SequenceModule
from sma.architectures import Residual
from sma.architectures.blocks import packing
from sma.architectures.blocks.packing import packed_rows
from sma.architectures.blocks.stack import Blocks
from sma.modules import (
    GAU,
    S4D,
    ActivationBudget,
    BatchNorm,
    Dense,
    DenseAttention,
    ExpertBank,
    ExpertChoiceRouter,
    FeedForward,
    LatentConfigurator,
    LayerNorm,
    MixtureOfExperts,
    MultiHeadAttention,
    MultiHeadEMA,
    SelectiveSSM,
    TopKRouter,
    kernel_backend,
)

D, LENGTHS = 8, torch.tensor([40, 3, 0, 21, 40, 9])
MASK = torch.arange(40) < LENGTHS[:, None]
HOLES = torch.rand(6, 40, generator=torch.Generator().manual_seed(0)) < 0.4


@pytest.fixture
def always(monkeypatch):
    monkeypatch.setattr(packing, "_LEAST", 1)


class Shifted(SequenceModule):
    """Adds each element's predecessor, and knows nothing of packed rows."""

    def forward(self, x, mask=None, edges=None):
        return sma.sequence.zero_padding(x + nn.functional.pad(x, (0, 0, 1, -1)), mask)


def budgeted():
    router = ActivationBudget(LatentConfigurator(D), rate=0.3, coefficient=2.0)
    return sma.SMA(router, [GAU(D, d_qk=4, window=3)])


BRANCHES = {
    "budget": budgeted,
    "capacity": lambda: sma.SMA(
        LatentConfigurator(D), [GAU(D, d_qk=4, window=3)], compaction=CapacityCompaction(0.3)
    ),
    "choice of experts": lambda: sma.SMA(
        ExpertChoiceRouter(D, n_modules=1, capacity=0.4), [FeedForward(D, d_hidden=4)]
    ),
    "experts": lambda: MixtureOfExperts(
        TopKRouter(D, n_modules=3, top_k=2), ExpertBank(D, n_experts=3, d_hidden=4)
    ),
    "few experts": lambda: MixtureOfExperts(
        TopKRouter(D, n_modules=3, top_k=2), ExpertBank(D, n_experts=3, d_hidden=4), capacity_factor=0.7
    ),
    "dense": lambda: Dense(MultiHeadAttention(D, n_heads=2, window=4)),
    "attention": lambda: DenseAttention(D, n_heads=2),
    "shifted": Shifted,
}
MIXERS = {
    "ema": lambda: MultiHeadEMA(D, d_state=4),
    "both ways": lambda: MultiHeadEMA(D, d_state=4, bidirectional=True, truncation=20),
    "s4d": lambda: S4D(D, d_state=4),
    "selective": lambda: SelectiveSSM(D, d_state=4, d_head=4),
}


def block(mixer="ema", branch="budget", norm=LayerNorm):
    torch.manual_seed(0)
    parts = [PerElement(nn.Linear(D, D)), BRANCHES[branch]()]
    return Residual(parts, norm=norm(D), mixer=MIXERS[mixer]()).double()


def outcome(module, x, mask):
    """The result, the gradients, and what was recorded."""
    x = x.clone().requires_grad_()
    with sma.record() as recording:
        y = module(x, mask)
    loss = (y * torch.arange(y.numel()).view_as(y).sin()).sum() + sum(recording.losses.values())
    return y, torch.autograd.grad(loss, [x, *module.parameters()]), recording


def assert_packing_changes_nothing(module, mask):
    x = torch.randn(*mask.shape, D, dtype=torch.float64).masked_fill(~mask[..., None], torch.nan)
    assert packed_rows(module, x, mask) is not None
    y, grads, recording = outcome(module, x, mask)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packing, "_LEAST", 10**9)
        assert packed_rows(module, x, mask) is None
        want, want_grads, want_recording = outcome(module, x, mask)
    torch.testing.assert_close(y, want, rtol=1e-12, atol=1e-12)
    for got, expected in zip(grads, want_grads, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-11)
    for got, expected in zip(recording.layers, want_recording.layers, strict=True):
        assert torch.equal(got.routing.active, expected.routing.active)
        assert torch.equal(got.received, expected.received)
        assert torch.equal(got.mask, expected.mask)
        real = [layer.routing.confidence[mask] for layer in (got, expected)]
        torch.testing.assert_close(*real)


@pytest.mark.parametrize("mask", [MASK, HOLES], ids=["padded", "holes"])
@pytest.mark.parametrize("mixer", MIXERS)
def test_mixers(always, mixer, mask):
    assert_packing_changes_nothing(block(mixer), mask)


@pytest.mark.parametrize("branch", BRANCHES)
def test_branches(always, branch):
    assert_packing_changes_nothing(block(branch=branch), MASK)


def test_batch_norm_counts_the_same_elements(always):
    assert_packing_changes_nothing(block(norm=functools.partial(BatchNorm, momentum=0.0)), HOLES)


def test_blocks_stay_packed(always, monkeypatch):
    blocks = Blocks([block(), block("s4d", "experts"), Shifted()])
    assert_packing_changes_nothing(blocks, MASK)
    calls = []
    monkeypatch.setattr(packing.PackedRows, "of", lambda mask: calls.append(mask) or made(mask))
    blocks(torch.randn(*MASK.shape, D, dtype=torch.float64), MASK)
    assert len(calls) == 1


made = packing.PackedRows.of


def test_recomputed_blocks_are_packed_both_times(always):
    blocks = Blocks([block(), block()]).train()
    x = torch.randn(*MASK.shape, D, dtype=torch.float64)
    want = outcome(blocks, x, MASK)
    blocks.activation_checkpointing = True
    y, grads, _ = outcome(blocks, x, MASK)
    assert torch.equal(y, want[0])
    for got, expected in zip(grads, want[1], strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)


def test_little_padding_stays():
    x, module = torch.zeros(2, 3000, D), block()
    for n_real, packs in ((3000, False), (2900, False), (2000, True)):
        mask = torch.arange(3000) < torch.tensor([[3000], [n_real]])
        assert (packed_rows(module, x, mask) is not None) == packs
    assert packed_rows(module, x, torch.zeros(2, 3000, dtype=torch.bool)) is None
    assert packed_rows(module, x, None) is None


def test_hooks_see_padded_batches(always):
    x, module, seen = torch.randn(*MASK.shape, D, dtype=torch.float64), block(), []
    hook = module.mixer.register_forward_hook(lambda part, args, y: seen.append(y.shape))
    module(x, MASK)
    assert seen == [x.shape]
    hook.remove()
    assert packed_rows(module, x, MASK) is not None


def test_where_shapes_may_not_depend_on_data_or_kernels_are_demanded(always):
    x, module = torch.zeros(*MASK.shape, D), block()
    with kernel_backend("triton"):
        assert packed_rows(module, x, MASK) is None
    assert packed_rows(module, x.to("meta"), MASK.to("meta")) is None
    found = []
    torch.func.vmap(lambda x: found.append(packed_rows(module, x, MASK)) or x)(x.unsqueeze(0))
    assert found == [None]


def test_wrong_masks_are_left_to_the_module(always):
    x, module = torch.zeros(*MASK.shape, D, dtype=torch.float64), block()
    for mask in (MASK.float(), MASK[:2], MASK.T):
        assert packed_rows(module, x, mask) is None
        with pytest.raises(ValueError, match="mask must be"):
            module(x, mask)
