import torch

from sma import CapacityCompaction, PackedCompaction


def elements(compaction):
    x = torch.arange(8.0).view(2, 4, 1)
    return compaction.compress(x, torch.tensor([[True, False, True, False], [False, False, False, True]]))


def test_valid_and_n_rows():
    assert elements(PackedCompaction()).valid.tolist() == [True, True, True]
    padded = elements(CapacityCompaction(3))
    assert padded.valid.tolist() == [True, True, False, True, False, False]
    assert padded.n_rows == 2


def test_with_x_keeps_the_slots():
    before = elements(PackedCompaction())
    after = before.with_x(torch.zeros(3, 5))
    assert after.x.shape == (3, 5)
    assert after.row is before.row
    assert before.x.shape == (3, 1)
