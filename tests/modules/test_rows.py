import pytest
import torch

from sma.modules.rows import may_have_holes, n_first, real_first, take, to_places

MASK = torch.tensor([[False, True, False, True], [True, True, True, True], [False, False, False, False]])


def test_take_reads_zero_outside_the_row() -> None:
    x = torch.arange(1.0, 7.0).view(2, 3, 1)
    assert take(x, torch.tensor([1, -2]), 3).squeeze(-1).tolist() == [[2, 3, 0], [0, 0, 4]]
    assert take(x, torch.tensor([0, 0]), 0).shape == (2, 0, 1)
    assert take(x[:, :0], torch.tensor([0, 0]), 2).tolist() == [[[0.0], [0.0]]] * 2


def test_real_elements_move_to_the_front_and_back() -> None:
    x = torch.arange(1.0, 13.0).view(3, 4)
    first = real_first(x.masked_fill(~MASK, float("nan")), MASK)
    assert first.tolist() == [[2, 4, 0, 0], [5, 6, 7, 8], [0, 0, 0, 0]]
    assert n_first(MASK).int().tolist() == [[1, 1, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0]]
    assert torch.equal(to_places(first, MASK), x.masked_fill(~MASK, 0))
    wide = torch.randn(3, 4, 2, 5)
    assert torch.equal(to_places(real_first(wide, MASK), MASK), wide.masked_fill(~MASK[..., None, None], 0))
    assert real_first(x[:, :0], MASK[:, :0]).shape == (3, 0)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ([], False),
        ([0, 0, 0], False),
        ([1, 1, 1], False),
        ([0, 1, 1, 0], False),
        ([0, 0, 1], False),
        ([1, 0, 1], True),
        ([0, 1, 0, 0, 1], True),
    ],
)
def test_holes(row: list[int], expected: bool) -> None:
    mask = torch.tensor([row, [0] * len(row)], dtype=torch.bool)
    assert may_have_holes(mask) == expected
    assert may_have_holes(mask.to("meta")), "a device is not asked"
