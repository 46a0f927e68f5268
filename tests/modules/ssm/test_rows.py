import torch

from sma.modules.ssm.rows import extent, take


def test_take_reads_zero_outside_the_row() -> None:
    x = torch.arange(1.0, 7.0).view(2, 3, 1)
    assert take(x, torch.tensor([1, -2]), 3).squeeze(-1).tolist() == [[2, 3, 0], [0, 0, 4]]
    assert take(x, torch.tensor([0, 0]), 0).shape == (2, 0, 1)
    assert take(x[:, :0], torch.tensor([0, 0]), 2).tolist() == [[[0.0], [0.0]]] * 2


def test_extent() -> None:
    x = torch.zeros(3, 4, 1)
    mask = torch.tensor([[False, True, True, False], [True] * 4, [False] * 4])
    start, count = extent(x, mask)
    assert start[:2].tolist() == [1, 0]
    assert count.tolist() == [2, 4, 0]
    assert [t.tolist() for t in extent(x, None)] == [[0, 0, 0], [4, 4, 4]]
    assert extent(x[:, :0], mask[:, :0])[1].tolist() == [0, 0, 0]
