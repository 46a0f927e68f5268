"""Derivatives of every kind through every kind of part: right numbers, or one error that names what works."""

import functools

import pytest
import torch
from torch import nn
from torch.autograd import forward_ad
from torch.nn.attention import SDPBackend, sdpa_kernel

from sma import SMA, CapacityCompaction, PackedCompaction
from sma.architectures import SeqBoat, transformer
from sma.modules import (
    GAU,
    S4D,
    BatchNorm,
    CausalConvolution,
    ChunkAttention,
    Dense,
    DenseAttention,
    ExpertBank,
    FeedForward,
    LatentConfigurator,
    LayerNorm,
    LearnedBias,
    MegaAttention,
    MixtureOfExperts,
    MultiHeadAttention,
    MultiHeadEMA,
    RandomRouter,
    SelectiveSSM,
    SequenceSubModule,
    T5Bias,
    TopKRouter,
)
from sma.modules.attention.windowed import windowed_attention

D = 4


def fixed_capacity(layer):
    for part in layer.modules():
        if isinstance(part, SMA):
            part.compaction = CapacityCompaction(8)
    return layer


def seqboat():
    return SeqBoat(D, d_qk=4, window=2, d_state=2)


def mixture(**options):
    router, bank = TopKRouter(D, n_modules=3, top_k=2), ExpertBank(D, n_experts=3, d_hidden=4)
    return MixtureOfExperts(router, bank, **options)


def gau(**options):
    return Dense(GAU(D, d_qk=4, **options))


PARTS = {
    "SeqBoat": seqboat,
    "SeqBoat of fixed capacity": lambda: fixed_capacity(seqboat()),
    "EMA": lambda: MultiHeadEMA(D, d_state=2),
    "truncated EMA": lambda: MultiHeadEMA(D, d_state=2, truncation=3),
    "bidirectional S4D": lambda: S4D(D, d_state=2, bidirectional=True),
    "SelectiveSSM": lambda: SelectiveSSM(D, d_head=4, d_state=2),
    "MultiHeadAttention": lambda: Dense(MultiHeadAttention(D, n_heads=2, window=2)),
    "attention to whole rows": lambda: Dense(MultiHeadAttention(D, n_heads=2, bidirectional=True)),
    "GAU with relu2": lambda: gau(window=3, attention="relu2", position=T5Bias()),
    "GAU with laplace": lambda: gau(window=3, attention="laplace", position=LearnedBias(3)),
    "DenseAttention": lambda: DenseAttention(D, n_heads=2),
    "MegaAttention": lambda: MegaAttention(
        D, mixer=MultiHeadEMA(D, d_state=2), attention=ChunkAttention(4, chunk=3), norm=LayerNorm(D)
    ),
    "routed FeedForward": lambda: SMA(LatentConfigurator(D), [FeedForward(D, d_hidden=4)]),
    "CausalConvolution": lambda: Dense(CausalConvolution(D, kernel_size=3, activation="silu")),
    "MixtureOfExperts": lambda: mixture(),
    "MixtureOfExperts of limited capacity": lambda: mixture(capacity_factor=0.7),
    "randomly routed FeedForward": lambda: fixed_capacity(
        SMA(RandomRouter(1, rate=0.5), [FeedForward(D, d_hidden=4)])
    ),
}
DEPENDS_ON_DATA = {
    "SeqBoat",
    "routed FeedForward",
    "MixtureOfExperts",
    "MixtureOfExperts of limited capacity",
}
EVERY_PART = pytest.mark.parametrize("name", PARTS)


def part(name):
    torch.manual_seed(1)
    layer = PARTS[name]().double().eval()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return layer


def inputs(*shape):
    return torch.randn(*shape, D, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


def jacobian(function, x):
    """Row by row, by first derivatives alone."""
    x = x.clone().requires_grad_()
    y = function(x)
    rows = [torch.autograd.grad(entry, x, retain_graph=True)[0] for entry in y.flatten()]
    return torch.stack(rows).view(*y.shape, *x.shape)


@EVERY_PART
def test_second_derivatives(name):
    layer, x = part(name), inputs(1, 5).requires_grad_()
    check = functools.partial(torch.autograd.gradgradcheck, layer, x, fast_mode=True, eps=1e-7, atol=1e-5)
    if name != "DenseAttention":
        assert check()
        return
    with pytest.raises(ValueError, match=r"no second derivatives; .* inside torch.nn.attention.sdpa_kernel"):
        check()
    with sdpa_kernel(SDPBackend.MATH):
        assert check()


@EVERY_PART
def test_second_derivatives_reach_the_parameters(name):
    """The gradient of a penalty on the gradient, against finite differences in one direction."""
    layer, x = part(name), inputs(1, 5).requires_grad_()

    def penalty():
        (grad,) = torch.autograd.grad(probe(layer(x)), x, create_graph=True)
        return grad.square().sum()

    with sdpa_kernel(SDPBackend.MATH):
        grads = torch.autograd.grad(penalty(), list(layer.parameters()), materialize_grads=True)
        values, slope, step = [], 0.0, 1e-6
        directions = [torch.randn_like(p) for p in layer.parameters()]
        for sign in (1, -1):
            with torch.no_grad():
                for p, d in zip(layer.parameters(), directions, strict=True):
                    p.add_(sign * step * d)
            values.append(penalty().item())
            with torch.no_grad():
                for p, d in zip(layer.parameters(), directions, strict=True):
                    p.sub_(sign * step * d)
    slope = sum((g * d).sum().item() for g, d in zip(grads, directions, strict=True))
    assert slope == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-4, abs=1e-6)


def probe(y):
    return (y * torch.arange(1, y.numel() + 1).cos().view(y.shape)).sum()


@EVERY_PART
def test_torch_func_grad(name):
    layer, x = part(name), inputs(2, 5)
    weights = dict(layer.named_parameters())
    expected = torch.autograd.grad(probe(layer(x)), list(weights.values()), materialize_grads=True)
    called = lambda values: probe(torch.func.functional_call(layer, values, (x,)))  # noqa: E731
    got = torch.func.grad(called)({key: value.detach() for key, value in weights.items()})
    for key, gradient in zip(weights, expected, strict=True):
        torch.testing.assert_close(got[key], gradient, msg=key)


@EVERY_PART
def test_forward_mode(name):
    layer, x, tangent = part(name), inputs(1, 5), inputs(2, 5)[1:]
    expected = jacobian(layer, x).flatten(3).matmul(tangent.flatten())
    torch.testing.assert_close(torch.func.jvp(layer, (x,), (tangent,))[1], expected)
    with forward_ad.dual_level():
        dual = forward_ad.unpack_dual(layer(forward_ad.make_dual(x, tangent))).tangent
    torch.testing.assert_close(dual, expected)


@EVERY_PART
def test_jacobians_and_hessians(name):
    layer, x = part(name), inputs(1, 4)
    expected = jacobian(layer, x)
    torch.testing.assert_close(torch.func.jacrev(layer)(x), expected)
    torch.testing.assert_close(torch.func.jacfwd(layer)(x), expected)
    torch.testing.assert_close(torch.autograd.functional.jacobian(layer, x, vectorize=True), expected)
    loss = lambda x: probe(layer(x).square())  # noqa: E731
    with sdpa_kernel(SDPBackend.MATH):
        expected = jacobian(lambda x: torch.autograd.grad(loss(x), x, create_graph=True)[0], x)
    torch.testing.assert_close(torch.func.hessian(loss)(x), expected)


@EVERY_PART
def test_vmap(name):
    layer, x = part(name), inputs(3, 2, 5)
    weights = {key: value.detach() for key, value in layer.named_parameters()}
    per_sample = torch.func.vmap(
        torch.func.grad(lambda w, row: probe(torch.func.functional_call(layer, w, (row[None],)))), (None, 0)
    )
    if name in DEPENDS_ON_DATA:
        for run in (lambda: torch.func.vmap(layer)(x), lambda: per_sample(weights, x[:, 0])):
            with pytest.raises(ValueError, match=r"torch.func.vmap cannot; use SMA with CapacityCompaction"):
                run()
        return
    torch.testing.assert_close(torch.func.vmap(layer)(x), torch.stack([layer(batch) for batch in x]))
    got = per_sample(weights, x[:, 0])
    for i, row in enumerate(x[:, 0]):
        loss = probe(layer(row[None]))
        expected = torch.autograd.grad(loss, list(layer.parameters()), materialize_grads=True)
        for key, gradient in zip(weights, expected, strict=True):
            torch.testing.assert_close(got[key][i], gradient, msg=key)


def test_vmap_where_a_module_needs_a_padded_batch():
    layer = SMA(LatentConfigurator(D), [SequenceSubModule(MultiHeadEMA(D))], compaction=CapacityCompaction(3))
    with pytest.raises(ValueError, match=r"a padded batch .*vmap cannot; give it the whole batch without"):
        torch.func.vmap(lambda row: layer(row[None]))(inputs(2, 5).float())


def test_batch_norm_in_training_says_what_torch_func_needs():
    norm, x = BatchNorm(D), inputs(2, 5).float()
    with pytest.raises(ValueError, match=r"torch\.func cannot; call eval\(\) on it, or pass its buffers"):
        torch.func.jvp(norm, (x,), (x,))
    torch.func.jvp(norm.eval(), (x,), (x,))


def test_gradients_per_row_of_a_language_model():
    model = transformer(vocab_size=7, d_model=8, n_layers=1, n_heads=2, d_feed_forward=8).build().eval()
    tokens, weights = torch.randint(7, (3, 5)), {key: p.detach() for key, p in model.named_parameters()}
    loss = lambda w, row: probe(torch.func.functional_call(model, w, (row[None],)))  # noqa: E731
    got = torch.func.vmap(torch.func.grad(loss), (None, 0))(weights, tokens)
    for i, row in enumerate(tokens):
        expected = torch.autograd.grad(probe(model(row[None])), list(model.parameters()))
        for key, gradient in zip(weights, expected, strict=True):
            torch.testing.assert_close(got[key][i], gradient, msg=key)


@pytest.mark.parametrize("window", [2, None])
def test_second_derivatives_with_dropout_see_the_same_weights(window):
    layer, x = gau(window=window, dropout=0.5).double(), inputs(2, 5).requires_grad_()

    def run(x):
        torch.manual_seed(0)
        return layer(x)

    assert torch.autograd.gradgradcheck(run, x, fast_mode=True)


def test_second_derivatives_where_queries_are_keys_and_values():
    elements = PackedCompaction().compress(inputs(1, 6), torch.ones(1, 6, dtype=torch.bool))
    x = elements.x.requires_grad_()
    assert torch.autograd.gradgradcheck(lambda x: windowed_attention(x, x, x, elements, window=2), x)


def test_a_gradient_penalty_trains_in_float32_under_autocast():
    layer = nn.Sequential(SeqBoat(8, d_qk=8, window=4))
    x = torch.randn(2, 9, 8, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        (grad,) = torch.autograd.grad(layer(x).square().sum(), x, create_graph=True)
    grad.square().sum().backward()
    assert all(bool(p.grad.isfinite().all()) for p in layer.parameters() if p.grad is not None)
