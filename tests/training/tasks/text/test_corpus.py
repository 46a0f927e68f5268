"""Corpora of text files: reading them, and the split by path."""

import hashlib
from fractions import Fraction
from pathlib import Path

from sma.training.tasks.text.corpus import Corpus, TextFile, read_files


def test_place_depends_on_the_path_alone() -> None:
    place = Fraction(int(hashlib.sha256(b"a/b.py").hexdigest()[:16], 16), 2**64)
    assert TextFile("a/b.py", b"x").place == TextFile("a/b.py", b"yy").place == place


def test_a_new_file_moves_no_other() -> None:
    files = [TextFile(f"{i}.py", b"x") for i in range(200)]
    shares = {"validation_share": 0.1, "test_share": 0.1}
    few, many = Corpus.split(files[:150], **shares), Corpus.split(files, **shares)
    for part in ("training", "validation", "test"):
        before, after = ({file.path for file in getattr(corpus, part)} for corpus in (few, many))
        assert before <= after


def test_every_split_gets_a_file() -> None:
    corpus = Corpus.split([TextFile(name, b"x") for name in "abc"], validation_share=0.01, test_share=0.01)
    assert [len(part) for part in (corpus.training, corpus.validation, corpus.test)] == [1, 1, 1]


def test_empty_files_do_not_count(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).write_text("text")
    (tmp_path / "empty.txt").touch()
    assert len(read_files(tmp_path, "**/*")) == 3
