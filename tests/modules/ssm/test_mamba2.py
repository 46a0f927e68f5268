import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from sma.modules.ssm.mamba2 import SelectiveSSM
from sma.testing import SequenceModuleContract


class TestContract(SequenceModuleContract):
    def make(self) -> SelectiveSSM:
        return SelectiveSSM(self.d_model, d_state=3, d_head=4)


class TestWithoutConvolution(SequenceModuleContract):
    def make(self) -> SelectiveSSM:
        return SelectiveSSM(self.d_model, d_state=2, d_head=8, expand=1, kernel_size=1)


def recurrent(ssm: SelectiveSSM, u: Tensor) -> Tensor:
    """Mamba-2's recurrence, one element after the other."""
    d_inner, n_channels, n_heads = ssm.widths
    z, channels, delta = ssm.project_in(u).split(ssm.widths, -1)
    padded = F.pad(channels.mT, (len(ssm.kernel) - 1, 0))
    channels = F.conv1d(padded, ssm.kernel.T[:, None], ssm.kernel_bias, groups=n_channels).mT
    inner, write, read = F.silu(channels).split((d_inner, ssm.d_state, ssm.d_state), -1)
    inner = inner.unflatten(-1, (n_heads, ssm.d_head))
    step = F.softplus(delta + ssm.step_bias)
    h, outputs = u.new_zeros(len(u), n_heads, ssm.d_head, ssm.d_state), []
    for t in range(u.shape[1]):
        decay = (-ssm.log_rate.exp() * step[:, t])[..., None, None].exp()
        h = decay * h + step[:, t, :, None, None] * inner[:, t, :, :, None] * write[:, t, None, None]
        outputs.append((h * read[:, t, None, None]).sum(-1) + ssm.omega[:, None] * inner[:, t])
    gated = torch.stack(outputs, 1).flatten(-2) * F.silu(z)
    normed = gated * (gated.square().mean(-1, keepdim=True) + ssm.norm.eps).rsqrt() * ssm.norm.weight
    return ssm.project_out(normed)


@pytest.mark.parametrize("length", [1, 64, 150])
def test_forward_is_the_recurrence(length: int) -> None:
    ssm = SelectiveSSM(6, d_state=5, d_head=3).double()
    u = torch.randn(2, length, 6, dtype=torch.float64)
    torch.testing.assert_close(ssm(u), recurrent(ssm, u), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("side", ["left", "right"])
def test_long_pieces_with_padding(side: str) -> None:
    ssm = SelectiveSSM(6, d_state=5, d_head=3).double().requires_grad_(False)
    rows = [torch.randn(n, 6, dtype=torch.float64) for n in (150, 71)]
    state, seen, got = ssm.init_state(2), [0, 0], [[], []]
    for counts in [(100, 1), (0, 2), (1, 66), (49, 2)]:
        x = torch.full((2, max(counts) + 2, 6), torch.nan, dtype=torch.float64)
        mask = torch.zeros(x.shape[:2], dtype=torch.bool)
        for b, n in enumerate(counts):
            first = 0 if side == "right" else x.shape[1] - n
            mask[b, first : first + n] = True
            x[b, mask[b]] = rows[b][seen[b] : seen[b] + n]
            seen[b] += n
        y = ssm.step(x, state, mask)
        assert torch.equal(y[~mask], torch.zeros_like(y[~mask]))
        for b in range(2):
            got[b].append(y[b, mask[b]])
    for b, row in enumerate(rows):
        torch.testing.assert_close(torch.cat(got[b]), ssm(row[None])[0], rtol=1e-10, atol=1e-10)


def test_initialisation() -> None:
    ssm = SelectiveSSM(64, d_head=1)
    step = F.softplus(ssm.step_bias)
    assert ((step > 0.00099) & (step < 0.101)).all()
    assert ((ssm.log_rate.exp() >= 0.999) & (ssm.log_rate.exp() <= 16.01)).all()


def test_flops_count_matrices_and_states() -> None:
    ssm = SelectiveSSM(8, d_state=4, d_head=4)
    matrices = 8 * (16 + 24 + 4) + 16 * 8 + 4 * 24
    assert ssm.flops(10) == 10 * (2 * matrices + 16 * (5 * 4 + 2))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"d_head": 3}, "d_head=3 must divide expand \\* d_model = 16; 1 does"),
        ({"d_state": 0}, "d_state=0 must"),
    ],
)
def test_errors(bad: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SelectiveSSM(8, **bad)


def test_repr() -> None:
    assert "SelectiveSSM(\n  8, d_state=4, d_head=4, expand=2, kernel_size=4" in repr(
        SelectiveSSM(8, d_state=4, d_head=4)
    )


@pytest.mark.parametrize(
    ("log_rate", "step_bias"), [(100.0, 1.0), (0.0, 1e3), (1e4, 1e3), (-200.0, -200.0), (3.0, 1e15)]
)
def test_extreme_decays(log_rate: float, step_bias: float) -> None:
    """Decays of 0 and 1 with gradients; also where padding follows, whose step is 0."""
    ssm = SelectiveSSM(6, d_state=5, d_head=3)
    with torch.no_grad():
        ssm.log_rate.fill_(log_rate)
        ssm.step_bias.fill_(step_bias)
    u = torch.randn(2, 90, 6)
    exact = SelectiveSSM(6, d_state=5, d_head=3).double().requires_grad_(False)
    exact.load_state_dict(ssm.state_dict())
    exact.log_rate.clamp_(max=600)
    y = ssm(u, torch.arange(90) < torch.tensor([[90], [70]]))
    torch.testing.assert_close(y[0].double(), recurrent(exact, u.double())[0], rtol=1e-4, atol=1e-4)
    y.sum().backward()
    assert all(p.grad.isfinite().all() for p in ssm.parameters())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_only_projections_are_moved_to_half_precision(dtype: torch.dtype) -> None:
    ssm = SelectiveSSM(16, d_state=8, d_head=8).requires_grad_(False)
    u = torch.randn(1, 2000, 16).to(dtype)
    with torch.no_grad():  # what a half-precision projection does to its weights happens in both
        for layer in (ssm.project_in, ssm.project_out):
            layer.weight.copy_(layer.weight.to(dtype))
    want = ssm.double()(u.double())
    ssm.to(dtype)
    assert ssm.project_in.weight.dtype == dtype
    assert ssm.log_rate.dtype == ssm.step_bias.dtype == ssm.kernel.dtype == torch.float32
    assert (ssm(u).double() - want).norm() < 4 * torch.finfo(dtype).eps * want.norm()
