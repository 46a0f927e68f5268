import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from sma.modules import MultiHeadEMA
from sma.testing import SequenceModuleContract

GOLDEN = Path(__file__).parents[2] / "golden"
PARALLEL = sorted(path.stem for path in GOLDEN.glob("ema_*") if "steps" not in path.stem)


class TestCausal(SequenceModuleContract):
    def make(self) -> MultiHeadEMA:
        return MultiHeadEMA(self.d_model, d_state=3)


class TestTruncated(SequenceModuleContract):
    def make(self) -> MultiHeadEMA:
        return MultiHeadEMA(self.d_model, d_state=3, truncation=3)


class TestBidirectional(SequenceModuleContract):
    def make(self) -> MultiHeadEMA:
        return MultiHeadEMA(self.d_model, d_state=3, bidirectional=True)


class TestBidirectionalTruncated(SequenceModuleContract):
    def make(self) -> MultiHeadEMA:
        return MultiHeadEMA(self.d_model, d_state=3, bidirectional=True, truncation=3)


def recurrent(ema: MultiHeadEMA, x: Tensor) -> Tensor:
    """The definition of MEGA's moving average, one element after the other; no truncation."""
    p = ema.delta.sigmoid()
    q = 1 - p * ema.alpha.sigmoid()
    y = ema.omega * x
    for direction in range(len(p)):
        h, outputs = torch.zeros(len(x), *p.shape[1:], dtype=x.dtype), []
        for u in (x.flip(1) if direction else x).unbind(1):
            h = q[direction] * h + p[direction] * ema.beta[direction] * u[..., None]
            outputs.append((ema.gamma[direction] * h).sum(-1) / p.shape[-1] ** 0.5)
        total = torch.stack(outputs, 1)
        y = y + (total.flip(1) if direction else total)
    return y


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("length", [1, 63, 64, 65, 200])
def test_forward_is_the_moving_average(length: int, bidirectional: bool) -> None:
    ema = MultiHeadEMA(3, d_state=4, bidirectional=bidirectional).double()
    x = torch.randn(2, length, 3, dtype=torch.float64)
    torch.testing.assert_close(ema(x), recurrent(ema, x), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("length", [70, 200])
@pytest.mark.parametrize("truncation", [1, 5, 64, 100])
def test_truncation_forgets(truncation: int, length: int) -> None:
    ema = MultiHeadEMA(2, d_state=3, truncation=truncation).double()
    unlimited = MultiHeadEMA(2, d_state=3).double()
    unlimited.load_state_dict(ema.state_dict())
    x = torch.randn(1, length, 2, dtype=torch.float64)
    y = ema(x)
    for t in range(0, length, 7):
        alone = recurrent(unlimited, x[:, max(0, t + 1 - truncation) : t + 1])
        torch.testing.assert_close(y[:, t], alone[:, -1], rtol=1e-11, atol=1e-11)


def published(name: str) -> tuple[MultiHeadEMA, dict[str, Tensor]]:
    path = GOLDEN / f"{name}.safetensors"
    with safe_open(path, framework="pt") as file:
        options = json.loads(file.metadata()["case"])["config"]["ctor"]
    ema = MultiHeadEMA(
        options["embed_dim"],
        d_state=options["ndim"],
        bidirectional=options["bidirectional"],
        truncation=options["truncation"],
    ).double()
    figures = load_file(path)
    ema.load_state_dict(
        {key: figures[f"state/{key}"].view_as(value) for key, value in ema.state_dict().items()}
    )
    return ema, figures


@pytest.mark.parametrize("name", PARALLEL)
def test_agrees_with_the_published_code(name: str) -> None:
    ema, figures = published(name)
    padding = figures.get("padding_mask", torch.zeros(figures["input"].shape[1::-1], dtype=torch.bool))
    padding = padding.unsqueeze(-1)
    x = figures["input"].transpose(0, 1).clone().requires_grad_()
    # The published module drops padding before the average but not before omega, and fills padding's outputs.
    y = ema(x.masked_fill(padding, 0)) + ema.omega * x.masked_fill(~padding, 0)
    output, weight = (figures[key].transpose(0, 1) for key in ("output", "loss_weight"))
    torch.testing.assert_close(y, output, rtol=0, atol=1e-9)
    (y * weight).sum().backward()
    torch.testing.assert_close(x.grad.transpose(0, 1), figures["grad_input"], rtol=0, atol=1e-9)
    for key, parameter in ema.named_parameters():
        want = figures[f"grad/{key}"].view_as(parameter)
        torch.testing.assert_close(parameter.grad, want, rtol=1e-9, atol=1e-9, msg=key)

    real = ~padding.squeeze(-1)
    masked = ema(x.masked_fill(padding, 0), real)
    torch.testing.assert_close(masked, output.masked_fill(padding, 0), rtol=0, atol=1e-9)
    single = ema.float()(x.masked_fill(padding, 0).float(), real).double()
    want = figures["unmodified_f32/output"].transpose(0, 1).double().masked_fill(padding, 0)
    torch.testing.assert_close(single, want, rtol=0, atol=5e-5)


def test_decoding_agrees_with_the_published_code() -> None:
    ema, figures = published("ema_steps_causal_L37_b2")
    x = figures["input"].transpose(0, 1)
    inputs = ema.delta[0].sigmoid() * ema.beta[0]  # the published states contain p * beta, these do not
    state = ema.init_state(2)
    pieces = []
    for start, end, name in [(0, 20, "step20"), (20, 30, "step30"), (30, 37, "final")]:
        pieces.append(ema.step(x[:, start:end], state))
        torch.testing.assert_close(inputs * state.hidden.mT, figures[f"{name}_h"], rtol=0, atol=1e-9)
    y = torch.cat(pieces, 1) - ema.omega * x
    torch.testing.assert_close(y.transpose(0, 1), figures["stepped_out"], rtol=0, atol=1e-9)


def test_initialisation() -> None:
    torch.manual_seed(0)
    ema = MultiHeadEMA(64, d_state=16, bidirectional=True).requires_grad_(False)
    assert ema.delta.shape == ema.alpha.shape == ema.beta.shape == ema.gamma.shape == (2, 64, 16)
    signs = torch.tensor([1.0, -1.0]).repeat(8)
    centred = {"delta": ema.delta, "alpha": ema.alpha, "beta": ema.beta - signs, "gamma": ema.gamma}
    for name, std in {"delta": 0.2, "alpha": 0.2, "beta": 0.02, "gamma": 1.0}.items():
        values = centred[name] / std
        assert values.abs().max() <= 2.001
        assert abs(float(values.mean())) < 0.1
        assert abs(float(values.std()) - 0.88) < 0.05, name  # a normal cut at two deviations
    assert ema.omega.abs().max() <= 2


@pytest.mark.parametrize("bad", [{"d_model": 0}, {"d_state": 0}, {"truncation": 0}])
def test_sizes_must_be_positive(bad: dict[str, int]) -> None:
    (name,) = bad
    with pytest.raises(ValueError, match=f"{name}=0 must be an integer of at least 1"):
        MultiHeadEMA(**{"d_model": 4, **bad})


def test_repr() -> None:
    assert "MultiHeadEMA(8, d_state=4, bidirectional=False, truncation=5)" in repr(
        MultiHeadEMA(8, d_state=4, truncation=5)
    )


SATURATED = pytest.mark.parametrize("value", [10.0, 17.0, 40.0, 200.0, 1e30])


def exact_average(ema: MultiHeadEMA, x: Tensor) -> Tensor:
    """The recurrence in float64, where 1 - p a is summed as (1 - p) + p (1 - a)."""
    delta, alpha, beta, gamma = (p.double() for p in (ema.delta, ema.alpha, ema.beta, ema.gamma))
    p = delta.sigmoid()
    q = ((-delta).sigmoid() + p * (-alpha).sigmoid())[0]
    h, outputs = torch.zeros(len(x), *q.shape, dtype=torch.float64), []
    for u in x.double().unbind(1):
        h = q * h + p[0] * beta[0] * u[..., None]
        outputs.append((gamma[0] * h).sum(-1) / q.shape[-1] ** 0.5 + ema.omega.double() * u)
    return torch.stack(outputs, 1)


@SATURATED
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_decays_near_0_are_exact_and_have_gradients(value: float, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    ema, other = MultiHeadEMA(3, d_state=2).to(dtype), MultiHeadEMA(3, d_state=2).to(dtype)
    with torch.no_grad():
        ema.delta.fill_(value)
        ema.alpha.fill_(value)
    other.load_state_dict(ema.state_dict())
    x = torch.randn(2, 150, 3, dtype=dtype)
    y, want = ema(x), exact_average(other, x)
    close = {"rtol": 1e-2 if dtype == torch.bfloat16 else 1e-5, "atol": 1e-5}
    torch.testing.assert_close(y.double(), want, **close)
    for piece in (10, 150):
        state = ema.init_state(2)
        with torch.no_grad():
            stepped = torch.cat([ema.step(part, state) for part in x.split(piece, 1)], 1)
        torch.testing.assert_close(stepped.double(), want, **close)
    y.sum().backward()
    want.sum().backward()
    scale = max(float(q.grad.abs().max()) for q in other.parameters())
    for (name, p), (_, q) in zip(ema.named_parameters(), other.named_parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad, rtol=2e-3, atol=1e-6 * scale, msg=name)


def test_decays_of_1_forget_nothing() -> None:
    ema = MultiHeadEMA(2, d_state=3).requires_grad_(False)
    ema.delta.fill_(-80.0)  # p is 2e-35: a decay of 1 in every dtype
    ema.beta.fill_(1e34)
    x = torch.ones(1, 3000, 2)
    torch.testing.assert_close(ema(x).double(), exact_average(ema, x), rtol=1e-4, atol=1e-5)


def test_parameters_stay_in_float32() -> None:
    """A model moved to half precision and back holds the same moving averages."""
    ema = MultiHeadEMA(4)
    before = {name: p.clone() for name, p in ema.named_parameters()}
    model = torch.nn.Sequential(ema, torch.nn.Linear(4, 4)).to(torch.bfloat16).half()
    assert model[1].weight.dtype == torch.float16
    assert all(
        torch.equal(p, before[name]) and p.dtype == torch.float32 for name, p in ema.named_parameters()
    )
    assert all(p.dtype == torch.float64 for p in model.double().parameters())
    assert all(p.dtype == torch.float32 for p in model.bfloat16()[0].parameters())
