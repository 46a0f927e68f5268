"""WordNet as a graph: synsets, their words, the pointers between them, 45 lexical classes."""

import hashlib
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from sma.architectures.files.reading import read_whole

FOLDER = Path("/usr/share/wordnet")
FILES = {"n": "data.noun", "v": "data.verb", "a": "data.adj", "r": "data.adv"}
CLASSES = (
    *("adj.all", "adj.pert", "adv.all", "noun.Tops", "noun.act", "noun.animal", "noun.artifact"),
    *("noun.attribute", "noun.body", "noun.cognition", "noun.communication", "noun.event", "noun.feeling"),
    *("noun.food", "noun.group", "noun.location", "noun.motive", "noun.object", "noun.person"),
    *("noun.phenomenon", "noun.plant", "noun.possession", "noun.process", "noun.quantity", "noun.relation"),
    *("noun.shape", "noun.state", "noun.substance", "noun.time", "verb.body", "verb.change"),
    *("verb.cognition", "verb.communication", "verb.competition", "verb.consumption", "verb.contact"),
    *("verb.creation", "verb.emotion", "verb.motion", "verb.perception", "verb.possession", "verb.social"),
    *("verb.stative", "verb.weather", "adj.ppl"),
)
"""Lexicographer files by number: https://wordnet.princeton.edu/documentation/lexnames5wn."""

_MARKER = re.compile(r"\((a|p|ip)\)$")
"""Where an adjective may stand: not a part of the word."""


@dataclass(frozen=True)
class Synset:
    """A set of synonyms.

    Attributes:
        key: part of speech and offset in its file, such as "n00001740".
        lexical_class: number of the lexicographer file that it is in; see `CLASSES`.
        lemmas: the synonyms.
        pointers: keys of the synsets that it points to.
        gloss: definition and examples.
    """

    key: str
    lexical_class: int
    lemmas: tuple[str, ...]
    pointers: tuple[str, ...]
    gloss: str


@dataclass(frozen=True)
class WordNet:
    """The graph of n synsets.

    Attributes:
        keys: of the synsets.
        names: the first word of each.
        tokens: `(n, K)` int32; hashed words and character n-grams of lemmas and gloss, 0 for none.
        edge_index: `(2, E)` long; every pointer in both directions, once.
        classes: `(n,)` long.
        digest: SHA-256 of the files.
    """

    keys: tuple[str, ...]
    names: tuple[str, ...]
    tokens: Tensor
    edge_index: Tensor
    classes: Tensor
    digest: str


def read_wordnet(folder: Path = FOLDER, *, vocab_size: int, n_tokens: int) -> WordNet:
    """Read the database files of WordNet.

    Args:
        folder: holds data.noun, data.verb, data.adj and data.adv.
        vocab_size: tokens are hashed to 1 .. vocab_size - 1.
        n_tokens: K; of a synset with more, the first are kept: lemmas, then gloss, then n-grams.

    Raises:
        ValueError: if a file is missing; the message says what to install.
    """
    digest = hashlib.sha256()
    synsets: list[Synset] = []
    for part, name in FILES.items():
        path = folder / name
        try:
            content = read_whole(path, limit=2**28)
        except FileNotFoundError:
            raise ValueError(f"{path} is missing; install WordNet: apt-get install wordnet-base") from None
        digest.update(content)
        try:
            synsets += parse(content.decode("latin-1"), part)
        except (ValueError, IndexError) as error:
            raise ValueError(
                f"{path} is not a database file of WordNet ({error}); install it anew"
            ) from error
    number = {synset.key: i for i, synset in enumerate(synsets)}
    lost = [p for synset in synsets for p in synset.pointers if p not in number]
    unknown = [s for s in synsets if not s.lemmas or not 0 <= s.lexical_class < len(CLASSES)]
    if lost or unknown or not synsets:
        raise ValueError(
            f"the database files of WordNet in {folder} are damaged or of several versions; install it anew"
        )
    pairs = {(i, number[p]) for i, synset in enumerate(synsets) for p in synset.pointers if number[p] != i}
    both = sorted(pairs | {(j, i) for i, j in pairs})
    tokens = torch.zeros(len(synsets), n_tokens, dtype=torch.int32)
    for i, synset in enumerate(synsets):
        found = [1 + code % (vocab_size - 1) for code in token_codes(synset)][:n_tokens]
        tokens[i, : len(found)] = torch.tensor(found, dtype=torch.int32)
    return WordNet(
        tuple(number),
        tuple(_MARKER.sub("", synset.lemmas[0]).replace("_", " ") for synset in synsets),
        tokens,
        torch.tensor(both, dtype=torch.long).T.contiguous(),
        torch.tensor([synset.lexical_class for synset in synsets]),
        digest.hexdigest(),
    )


def parse(content: str, part_of_speech: str) -> Iterator[Synset]:
    """The synsets in a database file (https://wordnet.princeton.edu/documentation/wndb5wn).

    Example:
        >>> line = "00001930 03 n 01 physical_entity 0 001 @ 00001740 n 0000 | an entity that exists"
        >>> next(parse(line, "n")).pointers
        ('n00001740',)
    """
    for line in content.splitlines():
        if line.startswith("  "):  # the licence
            continue
        fields, _, gloss = line.partition("|")
        offset, lexical_class, _, n_lemmas, *rest = fields.split()
        end = 2 * int(n_lemmas, 16)
        pointers = rest[end + 1 : end + 1 + 4 * int(rest[end])]
        yield Synset(
            part_of_speech + offset,
            int(lexical_class),
            tuple(rest[0:end:2]),
            tuple(pos + target for target, pos in zip(pointers[1::4], pointers[2::4], strict=True)),
            gloss.strip(),
        )


def token_codes(synset: Synset) -> list[int]:
    """Hashes of the words of lemmas, of the words of the gloss, and of the lemmas' n-grams; none twice."""
    lemmas = [word for lemma in synset.lemmas for word in _words(lemma)]
    codes = [_code("lemma", word) for word in lemmas]
    codes += [_code("gloss", word) for word in _words(synset.gloss)]
    codes += [code for word in lemmas for code in _ngram_codes(word)]
    return list(dict.fromkeys(codes))


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", text.lower())


@lru_cache(2**16)
def _code(role: str, word: str) -> int:
    return zlib.crc32(f"{role} {word}".encode())


@lru_cache(2**16)
def _ngram_codes(word: str) -> tuple[int, ...]:
    marked = f"<{word}>"
    return tuple(_code("ngram", marked[i : i + n]) for n in (3, 4) for i in range(len(marked) - n + 1))
