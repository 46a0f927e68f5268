"""Chunks: the same whatever makes them, made once, and those that were kept are not made again."""

from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from sma.training.generators.chunks import chunks


def squares(number):
    return {"n": np.array([number]), "square": np.full((2,), number**2)}


def values(made):
    return [chunk["square"].tolist() for chunk in made]


@pytest.mark.parametrize("workers", [1, 2])
def test_chunks_come_in_order(workers, tmp_path):
    expected = [[n**2] * 2 for n in range(7)]
    assert values(islice(chunks(squares, workers=workers), 7)) == expected
    assert values(islice(chunks(squares, workers=workers, folder=tmp_path), 7)) == expected


def test_what_was_kept_is_not_made_again(tmp_path):
    made = []

    def make(number):
        made.append(number)
        return squares(number)

    first = values(islice(chunks(make, folder=tmp_path), 3))
    again = values(islice(chunks(make, folder=tmp_path), 5))
    assert made == [0, 1, 2, 3, 4]
    assert again[:3] == first


def test_a_chunk_is_kept_whole_or_not_at_all(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "os.replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device"))
    )
    with pytest.raises(OSError, match="No space"):
        next(chunks(squares, folder=tmp_path))
    assert list(Path(tmp_path).iterdir()) == []
