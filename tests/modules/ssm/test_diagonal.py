import pytest
import torch
from torch import Tensor, nn

from sma.modules.ssm.diagonal import SHORT, DiagonalSSM
from sma.modules.ssm.recurrence import Modes, full_precision


class Fixed(DiagonalSSM):
    """The modes are given, one per channel."""

    def __init__(
        self, log_decay: Tensor, *, bidirectional: bool = False, truncation: int | None = None
    ) -> None:
        super().__init__(len(log_decay), bidirectional=bidirectional, truncation=truncation)
        self.register_buffer("log_decay", log_decay[:, None])
        nn.init.ones_(self.omega)

    def modes(self) -> tuple[Modes, ...]:
        log_decay = full_precision(self.log_decay)
        return (Modes(log_decay, torch.ones_like(log_decay)),) * (1 + self.bidirectional)


REAL = Fixed(torch.tensor([-0.1, -0.5, -3.0]).double()).double()
COMPLEX = Fixed(torch.tensor([-0.1 + 0.3j, -0.5 - 2j, 1j]).to(torch.complex128)).double()
SMALL, LARGE = (Fixed(torch.tensor([-0.1, -0.5, -3.0]).double(), truncation=n).double() for n in (5, 30))
SSMS = pytest.mark.parametrize(
    "ssm", [REAL, COMPLEX, SMALL, LARGE], ids=["real", "complex", "small", "large"]
)


@SSMS
@pytest.mark.parametrize("side", ["left", "right"])
def test_pieces_of_any_length_with_padding(ssm: Fixed, side: str) -> None:
    """Rows advance by different numbers of elements, in pieces on both sides of SHORT and of a chunk."""
    pieces = [[SHORT + 4, 3, 0], [0, 1, 1], [70, 0, 140], [SHORT, SHORT + 1, 2], [5, 64, 0], [1, 1, 1]]
    lengths = torch.tensor(pieces).sum(0).tolist()
    rows = [torch.randn(n, 3, dtype=torch.float64) for n in lengths]
    state, seen, got = ssm.init_state(3), [0, 0, 0], [[], [], []]
    for counts in pieces:
        longest = max(counts) + 2
        x = torch.full((3, longest, 3), torch.nan, dtype=torch.float64)
        mask = torch.zeros(3, longest, dtype=torch.bool)
        for b, n in enumerate(counts):
            start = longest - n if side == "left" else 0
            x[b, start : start + n] = rows[b][seen[b] : seen[b] + n]
            mask[b, start : start + n] = True
            seen[b] += n
        before = state.map(torch.clone)
        y = ssm.step(x, state, mask)
        assert torch.equal(y[~mask], torch.zeros_like(y[~mask]))
        for b, n in enumerate(counts):
            got[b].append(y[b, mask[b]])
            if n == 0:
                idle = torch.tensor([b])
                old, new = before.select(idle).tensors(), state.select(idle).tensors()
                assert all(torch.equal(p, q) for (_, p), (_, q) in zip(old, new, strict=True))
    for b, row in enumerate(rows):
        torch.testing.assert_close(torch.cat(got[b]), ssm(row[None])[0], rtol=1e-10, atol=1e-10)


@SSMS
@pytest.mark.parametrize("length", [3, SHORT + 30])
def test_gradients_through_a_step_stop_at_the_state(ssm: Fixed, length: int) -> None:
    state = ssm.init_state(2)
    for _ in range(2):
        x = torch.randn(2, length, 3, dtype=torch.float64, requires_grad=True)
        y = ssm.step(x, state)
        (gradient,) = torch.autograd.grad(y[:, -1].sum(), x)
        assert (gradient != 0).any(1).all()
        assert not any(tensor.requires_grad for _, tensor in state.tensors())


@pytest.mark.parametrize("truncation", [None, 1000])
def test_long_decoding_stays_near_the_parallel_form_in_float32(truncation: int | None) -> None:
    """Also where exp(log_decay) rounds to 1, and where what leaves a truncated sum must be what entered."""
    ssm = Fixed(torch.tensor([-1e-8, -1e-5, -1e-3]), truncation=truncation)
    x = torch.randn(1, 4000, 3) + 0.5
    state = ssm.init_state(1)
    with torch.no_grad():
        stepped = torch.cat([ssm.step(piece, state) for piece in x.split(SHORT, 1)], 1)
        double = Fixed(ssm.log_decay[:, 0].double(), truncation=truncation).double()(x.double())
    scale = double.abs().amax((0, 1))
    assert ((stepped - double).abs().amax((0, 1)) / scale < 2e-5).all()
    assert ((ssm(x) - double).abs().amax((0, 1)) / scale < 2e-6).all()


def test_state_is_bounded_and_float32_at_least() -> None:
    ssm = Fixed(torch.tensor([-0.1, -1.0]), truncation=7).bfloat16()
    state = ssm.init_state(3, dtype=torch.bfloat16)
    assert {name: tuple(t.shape) for name, t in state.tensors()} == {
        "hidden": (3, 1, 2),
        "recent": (3, 7, 2),
        "oldest": (3,),
    }
    assert state.recent.dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128], ids=str)
def test_complex_states(dtype: torch.dtype) -> None:
    ssm = Fixed(torch.tensor([-0.1 + 1j]))
    assert ssm.init_state(1, dtype=dtype.to_real()).hidden.dtype == dtype


def test_bidirectional_does_not_decode() -> None:
    ssm = Fixed(torch.tensor([-0.1]), bidirectional=True)
    assert not ssm.causal
    with pytest.raises(NotImplementedError, match="build it with bidirectional=False"):
        ssm.init_state(1)


def test_weights_that_change_are_seen_at_once() -> None:
    ssm, x = Fixed(torch.tensor([-0.1])).eval(), torch.randn(1, 5, 1)
    before = ssm(x)
    ssm.log_decay.mul_(2)
    assert not torch.equal(ssm(x), before)


def test_vmap_and_per_sample_gradients() -> None:
    x = torch.randn(3, 20, 3, dtype=torch.float64)
    together = torch.func.vmap(lambda row: REAL(row[None])[0])(x)
    torch.testing.assert_close(together, REAL(x))


def test_flops_count_the_recurrence() -> None:
    assert REAL.flops(10) == 10 * (3 * 4 + 3 * 2)
    assert COMPLEX.flops(10) == 10 * (3 * 12 + 3 * 2)


@pytest.mark.parametrize("truncation", [None, 5, 30])
@pytest.mark.parametrize("length", [3, 64, 200])
def test_a_decay_of_exactly_0_or_1(truncation: int | None, length: int) -> None:
    decay = torch.tensor([0.0, 1.0, 0.5], dtype=torch.float64)
    ssm = Fixed(decay.log(), truncation=truncation).double()
    x = torch.randn(2, length, 3, dtype=torch.float64, requires_grad=True)
    lags = torch.arange(length)[:, None] - torch.arange(length)
    kernel = decay[:, None, None] ** lags.clamp(min=0)
    seen = (lags >= 0) & (lags < (truncation or length))
    want = torch.einsum("dts,bsd->btd", kernel.masked_fill(~seen, 0), x) + x
    y = ssm(x)
    torch.testing.assert_close(y, want, rtol=1e-11, atol=1e-11)
    got, right = (torch.autograd.grad(z[:, ::2].sum(), x)[0] for z in (y, want))
    torch.testing.assert_close(got, right, rtol=1e-11, atol=1e-11)
    state = ssm.init_state(2)
    with torch.no_grad():
        stepped = torch.cat([ssm.step(piece, state) for piece in x.split([2, length - 2], 1)], 1)
    torch.testing.assert_close(stepped, want.detach(), rtol=1e-11, atol=1e-11)
