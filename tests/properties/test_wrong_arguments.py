"""Wrong arguments get an error of this library that names them, not one from inside torch."""

import re

import pytest
import torch
from torch import nn

from sma import SMA, PackedCompaction, PerElement
from sma.architectures import seqboat
from sma.modules import (
    GAU,
    S4D,
    ActivationBudget,
    AlwaysActive,
    BatchNorm,
    CausalConvolution,
    DenseAttention,
    ExpertBank,
    ExpertChoiceRouter,
    FeedForward,
    GatedFeedForward,
    GumbelRouter,
    LatentConfigurator,
    LayerNorm,
    MultiHeadAttention,
    MultiHeadEMA,
    NeverActive,
    Ramp,
    RandomRouter,
    RMSNorm,
    ScaleNorm,
    SelectiveSSM,
    SigmoidRouter,
    TopKRouter,
)

D = 8
SIZES = {
    "GAU.d_model": lambda n: GAU(n),
    "GAU.d_qk": lambda n: GAU(D, d_qk=n),
    "GAU.d_hidden": lambda n: GAU(D, d_hidden=n),
    "GAU.window": lambda n: GAU(D, window=n),
    "MultiHeadAttention.n_heads": lambda n: MultiHeadAttention(D, n_heads=n),
    "MultiHeadAttention.window": lambda n: MultiHeadAttention(D, n_heads=2, window=n),
    "DenseAttention.max_positions": lambda n: DenseAttention(D, n_heads=2, max_positions=n),
    "FeedForward.d_hidden": lambda n: FeedForward(D, d_hidden=n),
    "GatedFeedForward.d_model": lambda n: GatedFeedForward(n, d_hidden=4),
    "ExpertBank.d_hidden": lambda n: ExpertBank(D, n_experts=2, d_hidden=n),
    "CausalConvolution.kernel_size": lambda n: CausalConvolution(D, kernel_size=n),
    "MultiHeadEMA.d_state": lambda n: MultiHeadEMA(D, d_state=n),
    "MultiHeadEMA.truncation": lambda n: MultiHeadEMA(D, truncation=n),
    "S4D.d_model": lambda n: S4D(n),
    "SelectiveSSM.expand": lambda n: SelectiveSSM(D, expand=n),
    "LatentConfigurator.d_model": lambda n: LatentConfigurator(n),
    "LatentConfigurator.n_modules": lambda n: LatentConfigurator(D, n_modules=n),
    "SigmoidRouter.d_model": lambda n: SigmoidRouter(n),
    "GumbelRouter.d_model": lambda n: GumbelRouter(n),
    "TopKRouter.top_k": lambda n: TopKRouter(D, n_modules=4, top_k=n),
    "ExpertChoiceRouter.d_model": lambda n: ExpertChoiceRouter(n, n_modules=2, capacity=0.5),
}


@pytest.mark.parametrize("size", ["16", 1.5, True, 0])
@pytest.mark.parametrize("name", SIZES)
def test_a_size_is_a_positive_integer(name, size):
    argument = name.split(".")[1]
    error = ValueError if size == 0 else TypeError
    with pytest.raises(error, match=re.escape(f"{argument}={size!r} must be an integer of at least 1")):
        SIZES[name](size)


def language_model():
    return seqboat(vocab_size=11, d_model=D, n_layers=1, d_qk=4, window=4).build().eval()


TAKE_X = {
    "SMA": lambda: SMA(LatentConfigurator(D), [GAU(D)]),
    "SMA without a learned router": lambda: SMA(AlwaysActive(1), [GAU(D)]),
    "SMA of heads": lambda: SMA(AlwaysActive(1), [MultiHeadAttention(D, n_heads=2)]),
    "SMA of feed-forward": lambda: SMA(AlwaysActive(1), [FeedForward(D, d_hidden=4)]),
    "router": lambda: SigmoidRouter(D),
    "block": lambda: language_model().blocks[0],
    "EMA": lambda: MultiHeadEMA(D),
    "SelectiveSSM": lambda: SelectiveSSM(D, d_state=4, d_head=4),
    "LayerNorm": lambda: LayerNorm(D),
    "RMSNorm": lambda: RMSNorm(D),
    "ScaleNorm": lambda: ScaleNorm(D),
    "BatchNorm": lambda: BatchNorm(D),
    "DenseAttention": lambda: DenseAttention(D, n_heads=2),
}


@pytest.mark.parametrize("x", [torch.zeros(2, 5, D - 1), torch.zeros(5, D), torch.zeros(2, 5, D).long()])
@pytest.mark.parametrize("name", TAKE_X)
def test_x_of_another_shape_or_dtype(name, x):
    with pytest.raises(ValueError, match=rf"x must be \(.*, (8|D)\) floating point, got \(.*{x.dtype}"):
        TAKE_X[name]()(x)


ROUTERS = {
    "latent configurator": lambda: LatentConfigurator(D, n_modules=2),
    "sigmoid": lambda: SigmoidRouter(D, n_modules=2),
    "gumbel": lambda: GumbelRouter(D, n_modules=2),
    "top-k with jitter": lambda: TopKRouter(D, n_modules=2, top_k=1, normalize=False, jitter=0.1),
    "expert choice": lambda: ExpertChoiceRouter(D, n_modules=2, capacity=0.5, d_predictor=3),
    "always": lambda: AlwaysActive(2),
    "never": lambda: NeverActive(2),
    "random": lambda: RandomRouter(2, rate=0.5),
}
WRAPS = {
    "alone": lambda router: router,
    "with a budget": lambda router: ActivationBudget(router, rate=Ramp(1.0, 0.5), coefficient=1.0),
}


@pytest.mark.parametrize("wrap", WRAPS)
@pytest.mark.parametrize("name", ROUTERS)
def test_routers_name_what_they_cannot_read(name, wrap):
    router, x = WRAPS[wrap](ROUTERS[name]()), torch.zeros(2, 5, D)
    for wrong in (x.long(), x.bool(), x[0], x.to(torch.complex64)):
        with pytest.raises(ValueError, match=rf"x must be \(.*\) floating point, got \(.*{wrong.dtype}"):
            router(wrong)
    for mask in (torch.ones(2, 5), torch.ones(5, 2, dtype=torch.bool), torch.ones(2, 5, 1) > 0):
        with pytest.raises(ValueError, match=re.escape(f"got {tuple(mask.shape)} {mask.dtype}")):
            router(x, mask)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("wrap", WRAPS)
@pytest.mark.parametrize("name", ROUTERS)
def test_routers_read_half_precision(name, wrap, dtype):
    router = WRAPS[wrap](ROUTERS[name]()).to(dtype)
    routing = router(torch.randn(2, 5, D, dtype=dtype))
    assert all(loss.dtype == torch.float32 and loss.isfinite() for loss in routing.losses.values())


def test_elements_of_another_width():
    elements = PackedCompaction().compress(torch.zeros(2, 5, D - 1), torch.ones(2, 5, dtype=torch.bool))
    for module in (GAU(D), MultiHeadAttention(D, n_heads=2), GatedFeedForward(D, d_hidden=4)):
        with pytest.raises(ValueError, match=re.escape(f"x must be (T, {D}) floating point, got (10, 7)")):
            module(elements)


@pytest.mark.parametrize(
    "make",
    [
        lambda: MultiHeadEMA(D),
        lambda: SelectiveSSM(D, d_state=4, d_head=4),
        lambda: DenseAttention(D, n_heads=2, max_positions=4),
        lambda: SMA(LatentConfigurator(D), [GAU(D)]),
        lambda: language_model().blocks[0],
    ],
)
def test_a_state_of_another_kind_or_size(make):
    module, x = make(), torch.zeros(3, 1, D)
    with pytest.raises(TypeError, match="that init_state returns, got NoneType"):
        module.step(x, None)
    with pytest.raises(ValueError, match="state holds 2 rows, but there are 3 in the input"):
        module.step(x, module.init_state(2))


TOKENS = torch.zeros(2, 3, dtype=torch.long)


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (TOKENS[0], "tokens must be (B, L) integers, (B,) in a step, got (3,) torch.int64"),
        (TOKENS[None], "got (1, 2, 3) torch.int64"),
        (TOKENS.float(), "got (2, 3) torch.float32"),
        (TOKENS + 11, "token 11 is not in the vocabulary, 0 to 10"),
        ([[1, 2]], "inputs must be a tensor (B, L, ...), got list"),
    ],
)
def test_tokens_of_another_shape_or_dtype(tokens, message):
    model = language_model()
    for call in (model, model.prefill):
        with pytest.raises(ValueError, match=re.escape(message)):
            call(tokens)


def test_a_step_takes_one_token_per_row_of_its_state():
    model = language_model()
    state = model.init_state(2)
    for token, message in [
        (TOKENS, "tokens must be (B, L) integers, (B,) in a step, got"),
        (torch.tensor(1), "one element per row, such as (B,) tokens, got () torch.int64"),
        (1, "one element per row, such as (B,) tokens, got int"),
        (TOKENS[0], "the state holds 2 rows, but there are 3 in the input"),
    ]:
        with pytest.raises(ValueError, match=re.escape(message)):
            model.step(token, state)
    with pytest.raises(ValueError, match="the state holds 2 rows, but there are 3"):
        model.prefill(TOKENS.T, None, state)
    with pytest.raises(TypeError, match="must be the SequenceModelState that init_state returns, got None"):
        model.step(TOKENS[:, 0], None)
    with pytest.raises(ValueError, match="of another model: SequenceModelState holds 2 states"):
        model.step(TOKENS[:, 0], seqboat(vocab_size=11, d_model=D, n_layers=2).build().init_state(2))
    assert model.step(TOKENS[:, 0], state).shape == (2, 11)


def test_a_module_per_element_needs_floating_point():
    with pytest.raises(ValueError, match="x must be"):
        PerElement(nn.Linear(D, D))(torch.zeros(2, 5, D).long())
