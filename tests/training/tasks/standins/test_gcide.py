"""The dictionary: parts end with an entry, and together they are the whole."""

import gzip

import pytest
import torch

from sma.training.tasks.standins import gcide
from sma.training.tasks.standins.gcide import FILE, GCIDESpec, parts

ENTRY = "Word{0} \\Word\\, n.\n   What it is. [{0}]\n\n   Syn: another.\n\n"
CONTENT = "".join(ENTRY.format(i) for i in range(400)).encode()


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(gcide, "PART", 1000)


def test_parts_are_whole_entries(small):
    found = parts(CONTENT)
    assert b"".join(part.content for part in found) == CONTENT
    assert len(found) > 10
    assert all(part.content.startswith(b"Word") and part.content.endswith(b"\n\n") for part in found)
    assert all(1000 <= part.size < 1100 for part in found[:-1])
    assert len({part.path for part in found}) == len(found)


@pytest.mark.parametrize("content", [b"a", b"one\n\n", b"one\n\n  two\n\n", b"one\n\n\n\n"])
def test_short_dictionaries(content, monkeypatch):
    monkeypatch.setattr(gcide, "PART", 1)
    assert b"".join(part.content for part in parts(content)) == content


def test_the_task(small, tmp_path):
    path = tmp_path / "gcide.dict.dz"
    path.write_bytes(gzip.compress(CONTENT))
    task = GCIDESpec(file=str(path), length=32, validation_share=0.2, test_share=0.2).build()
    assert task.title == "the GCIDE dictionary"
    assert task.training_batch(2, torch.Generator().manual_seed(0)).roles.shape == (2, 32)
    assert task.n_classes == 256


def test_a_missing_or_damaged_file(tmp_path):
    path = tmp_path / "gcide.dict.dz"
    with pytest.raises(ValueError, match=r"is missing; .*apt-get install dict-gcide"):
        GCIDESpec(file=str(path)).build()
    path.write_bytes(gzip.compress(CONTENT)[:-20])
    with pytest.raises(ValueError, match=r"is damaged .*; install dict-gcide anew"):
        GCIDESpec(file=str(path)).build()


@pytest.mark.skipif(not FILE.exists(), reason="apt-get install dict-gcide")
def test_the_package():
    files, _, _ = GCIDESpec().read()
    assert 30_000_000 < sum(part.size for part in files) < 50_000_000
    assert all(part.size < 2**17 for part in files)
