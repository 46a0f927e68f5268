import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from torch import nn

from sma.modules.norms import BatchNorm, LayerNorm, NoNorm, RMSNorm, ScaleNorm

D = 6


def oracle(norm, x):
    """One element's features, in plain formulas."""
    if isinstance(norm, LayerNorm):
        normal = (x - x.mean()) / (((x - x.mean()) ** 2).mean() + norm.eps) ** 0.5
        return normal * norm.weight + norm.bias
    return x / ((x**2).mean() + norm.eps) ** 0.5 * norm.weight


def randomised(norm):
    norm = norm.double()
    with torch.no_grad():
        for parameter in norm.parameters():
            parameter.copy_(torch.randn(parameter.shape))
    return norm


def batch(lengths=(7, 3, 0), length=7):
    """Rows with padding that holds NaN."""
    x = torch.randn(len(lengths), length, D, dtype=torch.float64)
    mask = torch.arange(length) < torch.tensor(lengths)[:, None]
    return x.masked_fill(~mask[..., None], float("nan")), mask


EVERY = [LayerNorm, RMSNorm, ScaleNorm, BatchNorm]


@pytest.mark.parametrize("kind", [LayerNorm, RMSNorm, ScaleNorm])
def test_each_element_is_normalised_alone(kind):
    norm = randomised(kind(D))
    x = torch.randn(2, 5, D, dtype=torch.float64)
    expected = torch.stack([torch.stack([oracle(norm, element) for element in row]) for row in x])
    torch.testing.assert_close(norm(x), expected)


@pytest.mark.parametrize("kind", EVERY)
@pytest.mark.parametrize("affine", [True, False])
def test_padding_reaches_neither_results_nor_gradients(kind, affine):
    norm = kind(D, affine=affine).double()
    x, mask = batch()
    weight = torch.randn(int(mask.sum()), D, dtype=torch.float64)

    def run(content):
        norm.zero_grad()
        leaf = torch.where(mask[..., None], x, content).requires_grad_()
        y = norm(leaf, mask)
        (y[mask] * weight).sum().backward()
        return [y[mask], leaf.grad, *(parameter.grad for parameter in norm.parameters())]

    results = run(-1e6)
    assert all(torch.isfinite(value).all() for value in results)
    assert (results[1][~mask] == 0).all()
    for value, other in zip(results, run(3.0), strict=True):
        torch.testing.assert_close(value, other, rtol=0, atol=0)


@pytest.mark.parametrize("kind", EVERY)
@pytest.mark.parametrize("training", [True, False])
def test_gradcheck(kind, training):
    norm = randomised(kind(D)).train(training)
    x = torch.randn(2, 3, D, dtype=torch.float64, requires_grad=True)
    mask = torch.tensor([[True, True, True], [True, False, False]])
    parameters = tuple(norm.parameters())
    assert torch.autograd.gradcheck(lambda x, *_: norm(x, mask), (x, *parameters))


@pytest.mark.parametrize("kind", EVERY)
@pytest.mark.parametrize("shape", [(0, 4, D), (2, 0, D), (1, 1, D)])
def test_degenerate_batches(kind, shape):
    norm = kind(D)
    x = torch.randn(shape, requires_grad=True)
    y = norm(x)
    assert y.shape == shape
    y.sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in norm.parameters())


@pytest.mark.parametrize("kind", [*EVERY, NoNorm])
def test_half_precision_is_computed_in_float32(kind):
    norm = kind() if kind is NoNorm else kind(D)
    x = (300 * torch.randn(2, 5, D)).half()  # squares overflow in float16
    y = norm(x)
    assert y.dtype == torch.float16
    torch.testing.assert_close(y, norm(x.float()).half())


def test_no_norm_is_the_identity():
    x, mask = batch()
    assert NoNorm()(x, mask) is x


def test_batch_norm_without_padding_equals_torch():
    ours, theirs = randomised(BatchNorm(D, momentum=0.3)), nn.BatchNorm1d(D, momentum=0.3).double()
    theirs.load_state_dict(ours.state_dict())
    for _ in range(3):
        x = 2 + 3 * torch.randn(4, 5, D, dtype=torch.float64)
        leaves = [x.clone().requires_grad_(), x.clone().requires_grad_()]
        weight = torch.randn_like(x)
        results = [ours(leaves[0]), theirs(leaves[1].mT).mT]
        for y in results:
            (y * weight).sum().backward()
        torch.testing.assert_close(*results)
        torch.testing.assert_close(leaves[0].grad, leaves[1].grad)
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict())
    torch.testing.assert_close(ours.weight.grad, theirs.weight.grad)
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x.mT).mT)


def test_batch_norm_counts_real_elements_only():
    norm, torchs = BatchNorm(D).double(), nn.BatchNorm1d(D).double()
    x, mask = batch((7, 2, 0))
    torch.testing.assert_close(norm(x, mask)[mask], torchs(x[mask]))
    torch.testing.assert_close(norm.state_dict(), torchs.state_dict())


def test_batch_norm_leaves_its_averages_alone_without_real_elements():
    norm = BatchNorm(D)
    before = {name: value.clone() for name, value in norm.state_dict().items()}
    x = torch.full((2, 3, D), float("nan"))
    assert torch.isfinite(norm(x, torch.zeros(2, 3, dtype=torch.bool))).all()
    torch.testing.assert_close(norm.state_dict(), before, rtol=0, atol=0)


def test_batch_norm_survives_a_single_real_element():
    norm = BatchNorm(D, momentum=1.0)
    x = torch.randn(1, 1, D)
    torch.testing.assert_close(norm(x), torch.zeros_like(x))
    torch.testing.assert_close(norm.running_mean, x[0, 0])
    assert (norm.running_var == 0).all()


def test_batch_norm_rows_are_independent_in_evaluation():
    norm = BatchNorm(D).double()
    x, mask = batch((7, 3, 5))
    norm(x, mask)
    norm.eval()
    for row in range(3):
        alone = norm(x[row : row + 1], mask[row : row + 1])
        torch.testing.assert_close(norm(x, mask)[row][mask[row]], alone[0][mask[row]], rtol=0, atol=0)


RANK = """
    import sys, torch
    from torch import distributed
    from sma.modules.norms import BatchNorm

    rank, folder = int(sys.argv[1]), sys.argv[2]
    distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    data = torch.load(f"{folder}/data.pt")
    norm = BatchNorm(data["x"].shape[-1], sync=True).double()
    x = data["x"][rank : rank + 1].clone().requires_grad_()
    mask = data["mask"][rank : rank + 1]
    y = norm(x, mask)
    (y * data["weight"][rank : rank + 1]).masked_fill(~mask[..., None], 0).sum().backward()
    torch.save({"y": y.detach(), "grad": x.grad, "state": norm.state_dict()}, f"{folder}/{rank}.pt")
    distributed.barrier()
    distributed.destroy_process_group()
"""


@pytest.mark.slow
def test_batch_norm_over_ranks_equals_one_rank_with_the_whole_batch(tmp_path):
    x, mask = batch((7, 3))
    weight = torch.randn_like(x)
    torch.save({"x": x, "mask": mask, "weight": weight}, tmp_path / "data.pt")
    command = [sys.executable, "-c", textwrap.dedent(RANK)]
    root = Path(__file__).parents[2]
    ranks = [subprocess.Popen([*command, str(rank), str(tmp_path)], cwd=root) for rank in range(2)]
    assert [rank.wait(timeout=120) for rank in ranks] == [0, 0]
    results = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]

    norm = BatchNorm(D).double()
    leaf = x.clone().requires_grad_()
    y = norm(leaf, mask)
    (y * weight).masked_fill(~mask[..., None], 0).sum().backward()
    torch.testing.assert_close(torch.cat([r["y"] for r in results])[mask], y[mask])
    torch.testing.assert_close(torch.cat([r["grad"] for r in results]), leaf.grad)
    for result in results:
        torch.testing.assert_close(result["state"], norm.state_dict())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_batch_statistics_in_half_precision(dtype):
    """Averages that half precision cannot hold, over more elements than it can count."""
    torch.manual_seed(0)
    norm = BatchNorm(2).to(dtype)
    x = (torch.tensor([300.0, 4.0]) + torch.tensor([2.0, 300.0]) * torch.randn(2, 40000, 2)).to(dtype)
    mask = torch.arange(40000) < torch.tensor([[40000], [30000]])
    exact = BatchNorm(2).double()
    for _ in range(30):
        got, want = norm(x, mask), exact(x.double(), mask)
    assert got.dtype == dtype
    close = {"rtol": 2 * torch.finfo(dtype).eps, "atol": 1e-3}
    torch.testing.assert_close(got[mask].double(), want[mask], **close)
    torch.testing.assert_close(norm.running_mean.double(), exact.running_mean, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(norm.running_var.double(), exact.running_var, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(
        norm.eval()(x, mask)[mask].double(), exact.eval()(x.double(), mask)[mask], **close
    )
