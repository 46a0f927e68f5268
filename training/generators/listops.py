"""ListOps as the Long Range Arena makes it: nested operations on digits, evaluated to a digit.

The distribution is that of https://arxiv.org/abs/2011.04006 (after https://arxiv.org/abs/1804.06028): an
element at depth d < `max_depth` is an operation with probability 1/4 and otherwise a digit; an operation
takes 2 to `max_args` elements; expressions whose length is not strictly between the bounds are thrown away,
and so are duplicates.
"""

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from sma.training.generators.chunks import Chunk, chunks

TOKENS = (*"0123456789", "[MIN", "[MAX", "[MED", "[SM", "]")
"""The vocabulary, without the parentheses of the published files, which carry nothing."""

MIN, MAX, MED, SM, CLOSE = range(10, 15)
ROLES = ("digit", "operator", "bracket")
ROLE_OF_TOKEN = np.searchsorted((MIN, CLOSE), range(len(TOKENS)), side="right")
"""`(15,)`, the index into `ROLES` of every token."""
OPERATION_PROBABILITY = 0.25
CHUNK = 500
"""Expressions per unit of work: what a chunk holds depends on the seed and its number alone."""
TRIES = 400 * CHUNK
"""After so many, a chunk ends with what it has: nearly no expression fits the bounds."""


@dataclass(frozen=True)
class Sizes:
    """Bounds on an expression.

    Attributes:
        min_length: an expression has more tokens than this.
        max_length: an expression has fewer tokens than this.
        max_depth: operations are nested at most so deep.
        max_args: an operation takes 2 to so many elements.

    Raises:
        ValueError: if no expression fits.
    """

    min_length: int = 500
    max_length: int = 2000
    max_depth: int = 10
    max_args: int = 10

    def __post_init__(self) -> None:
        if self.max_length < 5 or self.min_length + 1 >= self.max_length or self.min_length < 0:
            raise ValueError(
                f"no expression is longer than min_length={self.min_length} and shorter than "
                f"max_length={self.max_length}; [MIN 1 2 ] has 4 tokens: set max_length to at least 5 "
                "and over "
                "min_length + 1"
            )
        if self.max_depth < 2 or self.max_args < 2:
            raise ValueError(
                f"an operation needs a max_depth and max_args of at least 2, got {self.max_depth} and "
                f"{self.max_args}"
            )
        longest = _longest(self.max_depth, self.max_args)
        if longest <= self.min_length:
            raise ValueError(
                f"with max_depth={self.max_depth} and max_args={self.max_args} an expression has at most "
                f"{longest} tokens, and min_length={self.min_length} asks for more; raise the first two "
                "or lower "
                "the last"
            )


def expressions(
    n: int, sizes: Sizes, *, seed: int, workers: int = 1, folder: Path | None = None
) -> Iterator[Chunk]:
    """`n` different expressions, in chunks as they are made.

    The result is a function of the first three arguments.

    Args:
        n: how many.
        sizes: of each.
        seed: of all random numbers.
        workers: processes that make them.
        folder: where chunks are kept, so that they are made once; see `chunks`.

    Yields:
        `tokens (T,)` uint8, indices into `TOKENS`; `ends (k,)`, where each expression ends in them; and
        `labels (k,)`, what each evaluates to.

    Raises:
        ValueError: if there are not enough different expressions of these sizes.

    Example:
        >>> (chunk,) = expressions(2, Sizes(3, 8), seed=0)
        >>> [" ".join(TOKENS[i] for i in part) for part in np.split(chunk["tokens"], chunk["ends"][:-1])]
        ['[MED 2 6 8 ]', '[MIN 7 1 7 0 ]']
        >>> chunk["labels"].tolist()
        [6, 0]
    """
    seen: set[bytes] = set()
    n_stale = 0
    for made in chunks(partial(_chunk, sizes, seed), workers=workers, folder=folder):
        new = []
        parts = np.split(made["tokens"], made["ends"][:-1])
        for expression, value in zip(map(bytes, parts), made["labels"].tolist(), strict=True):
            digest = hashlib.sha256(expression).digest()
            if digest not in seen and len(seen) < n:
                seen.add(digest)
                new.append((expression, value))
        if new:
            yield _join(new)
        n_stale = 0 if new else n_stale + 1
        if len(seen) == n:
            return
        if n_stale == 10:
            raise ValueError(
                f"only {len(seen):,} different expressions of {sizes} were found, and {n:,} are asked for; "
                "allow longer or deeper ones, or ask for fewer"
            )


def _chunk(sizes: Sizes, seed: int, number: int) -> Chunk:
    generator = random.Random(f"listops {seed} {number}")
    kept: list[tuple[bytes, int]] = []
    for _ in range(TRIES):
        if len(kept) == CHUNK:
            break
        if (expression := _expression(generator, sizes)) is not None:
            kept.append((expression, evaluate(expression)))
    return _join(kept)


def _join(made: list[tuple[bytes, int]]) -> Chunk:
    return {
        "tokens": np.frombuffer(b"".join(expression for expression, _ in made), np.uint8),
        "ends": np.cumsum([len(expression) for expression, _ in made], dtype=np.int64),
        "labels": np.array([value for _, value in made], np.int64),
    }


def _expression(generator: random.Random, sizes: Sizes) -> bytes | None:
    """The tokens of a random expression, or None if its length is out of bounds.

    The root is an operation here: a digit would be thrown away.
    """
    draw, below = generator.random, generator.randrange
    tokens = bytearray([MIN + below(4)])
    missing = [below(2, sizes.max_args + 1)]  # the elements that each open operation still takes
    while missing:
        if len(tokens) >= sizes.max_length:
            return None
        if not missing[-1]:
            missing.pop()
            tokens.append(CLOSE)
            continue
        missing[-1] -= 1
        if len(missing) < sizes.max_depth - 1 and draw() <= OPERATION_PROBABILITY:
            tokens.append(MIN + below(4))
            missing.append(below(2, sizes.max_args + 1))
        else:
            tokens.append(below(10))
    return bytes(tokens) if sizes.min_length < len(tokens) < sizes.max_length else None


def evaluate(tokens: bytes) -> int:
    """The value of an expression, a digit.

    `[MED` is the integer part of the median, and `[SM` the sum modulo 10.

    Args:
        tokens: indices into `TOKENS`.

    Raises:
        ValueError: if they are not one whole expression.

    Example:
        >>> evaluate(bytes([MED, 2, MAX, 1, 7, CLOSE, CLOSE]))
        4
    """
    stack: list[list[int]] = [[]]
    for token in tokens:
        if token == CLOSE:
            operation, *values = stack.pop() or [CLOSE]
            if not (stack and values and operation >= MIN):
                raise ValueError("this is not an expression: a bracket closes nothing, or an empty operation")
            stack[-1].append(_apply(operation, values))
        elif token >= MIN:
            stack.append([token])
        else:
            stack[-1].append(token)
    if len(stack) != 1 or len(stack[0]) != 1:
        raise ValueError("this is not an expression: brackets are missing, or elements are left over")
    return stack[0][0]


def _apply(operation: int, values: list[int]) -> int:
    if operation == MIN:
        return min(values)
    if operation == MAX:
        return max(values)
    if operation == SM:
        return sum(values) % 10
    ordered, half = sorted(values), len(values) // 2
    return ordered[half] if len(values) % 2 else (ordered[half - 1] + ordered[half]) // 2


def _longest(max_depth: int, max_args: int) -> int:
    """The length of the longest expression."""
    length = 1
    for _ in range(max_depth - 1):
        length = 2 + max_args * length
    return length
