import itertools

import pytest
import torch

from sma.elements import PackedRows
from sma.modules.ssm import chunks
from sma.modules.ssm.chunks import RowChunks
from sma.modules.ssm.recurrence import Modes, convolve

LENGTHS = [9, 0, 30, 1, 8, 16]


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(chunks, "CHUNK", 8)


def packed(lengths=LENGTHS):
    return PackedRows.of(torch.arange(max(lengths)) < torch.tensor(lengths)[:, None])


@pytest.mark.parametrize("truncation", [None, 5, 8, 17, 24])
@pytest.mark.parametrize("both", [False, True], ids=["causal", "bidirectional"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128], ids=str)
def test_packed_rows_are_convolved_each_alone(dtype, both, truncation):
    rows, skip = packed(), torch.randn(3, dtype=torch.float64)
    leaves = [
        torch.complex(-torch.rand(3, 2).double(), torch.randn(3, 2).double())
        if dtype.is_complex
        else -torch.rand(3, 2).double()
        for _ in range(2)
    ]
    modes = [Modes(leaf.requires_grad_(), torch.randn(3, 2, dtype=dtype)) for leaf in leaves[: 1 + both]]
    x = torch.randn(1, sum(LENGTHS), 3, dtype=torch.float64, requires_grad=True)
    weight = torch.randn_like(x)
    wanted = [x, *leaves[: 1 + both]]

    y = convolve(x, *modes, skip=skip, truncation=truncation, rows=rows)
    alone = [convolve(part, *modes, skip=skip, truncation=truncation) for part in x.split(LENGTHS, 1)]
    want = torch.cat(alone, 1)
    torch.testing.assert_close(y, want, rtol=1e-12, atol=1e-12)
    got, expected = (torch.autograd.grad((z * weight).sum(), wanted) for z in (y, want))
    for g, w in zip(got, expected, strict=True):
        torch.testing.assert_close(g, w, rtol=1e-11, atol=1e-11)


def test_every_row_begins_with_a_chunk():
    rows = packed()
    layout = RowChunks.of(rows, None)
    assert layout.size == 8
    assert layout.row.tolist() == [0, 0, 2, 2, 2, 2, 3, 4, 5, 5]
    assert layout.longest == 30
    x = torch.arange(1.0, sum(LENGTHS) + 1).view(1, -1, 1)
    spread = layout.spread(x).view(-1, 8)
    for row, part in enumerate(x.flatten().split(LENGTHS)):
        own = spread[layout.row == row].flatten()
        assert own[: len(part)].tolist() == part.tolist()
        assert not own[len(part) :].any()
    assert torch.equal(layout.collect(layout.spread(x)), x)


def test_nothing_moves_beyond_a_row():
    layout = RowChunks(torch.tensor([0, 0, 0, 2]), torch.arange(4), 1, 3)
    x = torch.tensor([1.0, 2.0, 3.0, 4.0]).view(4, 1)
    for by, want in {1: [0, 1, 2, 0], 2: [0, 0, 1, 0], -1: [2, 3, 0, 0], 0: [1, 2, 3, 4]}.items():
        assert layout.shift(x, by).flatten().tolist() == want
    assert layout.reversed().shift(x, 1).flatten().tolist() == [0, 0, 2, 3]
    decay = layout.begin_anew(torch.zeros(1, 1)).exp().flatten()
    assert decay.tolist() == [0, 1, 1, 0]


def test_short_rows_have_smaller_chunks(monkeypatch):
    monkeypatch.setattr(chunks, "CHUNK", 64)
    sizes = [RowChunks.of(packed([n] * 4), None).size for n in (5, 70, 150, 1000)]
    assert sizes == [5, 16, 32, 64]


def test_chunks_of_padded_rows_return():
    for length, size in itertools.product([0, 1, 7, 8, 9], [1, 4, 8]):
        x = torch.randn(2, length, 3)
        parts = chunks.to_chunks(x, size)
        assert parts.shape[:2] == (3, 2)
        assert torch.equal(chunks.to_sequence(parts)[:, :length], x)
        assert not chunks.to_sequence(parts)[:, length:].any()
