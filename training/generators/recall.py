"""Sequences whose need for attention is known element by element: recall, selective copying, induction.

Each function makes random sequences of one kind, whose answers are in the sequence itself, far away.
Beside inputs and targets it says which elements an answer depends on: attention over a part of the sequence
can be right only if that part holds them all.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

UNASKED = -100
"""The target where nothing is asked: what torch's cross-entropy leaves out."""
FILLER, KEY, VALUE, QUERY = range(4)
"""The role of an element; the key of induction heads is the marker, and selective copying has no keys."""


@dataclass(frozen=True)
class Sequences:
    """Random sequences of one kind.

    Attributes:
        inputs: `(B, L)` long.
        targets: `(B, L)` long; `UNASKED` where nothing is asked.
        needs: `(B, L)` bool; the elements that ask, and those that hold what they ask for.
        roles: `(B, L)` long; `FILLER` to `QUERY`.
    """

    inputs: Tensor
    targets: Tensor
    needs: Tensor
    roles: Tensor


def associative_recall(
    n: int, *, length: int, n_pairs: int, n_queries: int, vocab_size: int, generator: torch.Generator
) -> Sequences:
    """Multi-query associative recall (https://arxiv.org/abs/2312.04927): say the value that followed a key.

    A row begins with `n_pairs` keys, each followed by its value. Then `n_queries` of the keys come again,
    each at a random place and once, among fillers; the target there is the key's value.

    Args:
        n: B, how many rows.
        length: L.
        n_pairs: pairs of different keys.
        n_queries: keys that are asked for.
        vocab_size: token 0 is the filler; half of the others are keys, the rest values.
        generator: of all random numbers.

    Raises:
        ValueError: if the pairs and queries do not fit into the row, or the keys into the vocabulary.

    Example:
        >>> rows = associative_recall(
        ...     1, length=8, n_pairs=2, n_queries=2, vocab_size=9, generator=torch.Generator().manual_seed(0)
        ... )
        >>> rows.inputs.tolist()
        [[3, 8, 4, 8, 0, 0, 3, 4]]
        >>> rows.targets.tolist()
        [[-100, -100, -100, -100, -100, -100, 8, 8]]
    """
    n_keys = (vocab_size - 1) // 2
    if not 1 <= n_queries <= n_pairs:
        raise ValueError(
            f"n_queries={n_queries} must be between 1 and n_pairs={n_pairs}; each key is asked for once"
        )
    if n_pairs > n_keys:
        raise ValueError(
            f"vocab_size={vocab_size} has {max(n_keys, 0)} keys, fewer than n_pairs={n_pairs}; set "
            "vocab_size to "
            f"at least {2 * n_pairs + 1}"
        )
    space = length - 2 * n_pairs
    if space < n_queries:
        raise ValueError(
            f"length={length} leaves {max(space, 0)} elements after n_pairs={n_pairs} pairs, fewer than "
            f"n_queries={n_queries}; set length to at least {2 * n_pairs + n_queries}"
        )
    keys = 1 + _choose(n, n_keys, n_pairs, generator)
    values = torch.randint(1 + n_keys, vocab_size, (n, n_pairs), generator=generator)
    asked = _choose(n, n_pairs, n_queries, generator)
    place = 2 * n_pairs + _choose(n, space, n_queries, generator)
    rows = _blank(n, length)
    rows.inputs[:, 0 : 2 * n_pairs : 2], rows.inputs[:, 1 : 2 * n_pairs : 2] = keys, values
    rows.roles[:, 0 : 2 * n_pairs : 2], rows.roles[:, 1 : 2 * n_pairs : 2] = KEY, VALUE
    rows.inputs.scatter_(1, place, keys.gather(1, asked))
    rows.targets.scatter_(1, place, values.gather(1, asked))
    rows.roles.scatter_(1, place, QUERY)
    rows.needs.scatter_(1, place, True)
    rows.needs.scatter_(1, 2 * asked + 1, True)
    return rows


def selective_copying(
    n: int, *, length: int, n_values: int, vocab_size: int, generator: torch.Generator
) -> Sequences:
    """Selective copying (https://arxiv.org/abs/2312.00752): repeat the values that stand among fillers.

    The last `n_values` elements of a row ask, in order, for the values at random places before
    them.

    Args:
        n: B, how many rows.
        length: L.
        n_values: to be repeated.
        vocab_size: token 0 is the filler, 1 asks, the others are values.
        generator: of all random numbers.

    Raises:
        ValueError: if the values do not fit into the row twice, or there is no token for them.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> rows = selective_copying(1, length=8, n_values=2, vocab_size=9, generator=generator)
        >>> rows.inputs.tolist()
        [[6, 5, 0, 0, 0, 0, 1, 1]]
        >>> rows.targets.tolist()
        [[-100, -100, -100, -100, -100, -100, 6, 5]]
    """
    if n_values < 1 or length < 2 * n_values:
        raise ValueError(f"length={length} must be at least twice n_values={n_values}, and that at least 1")
    if vocab_size < 3:
        raise ValueError(f"vocab_size={vocab_size} leaves no token for a value; set at least 3")
    values = torch.randint(2, vocab_size, (n, n_values), generator=generator)
    place = _choose(n, length - n_values, n_values, generator).sort(1).values
    rows = _blank(n, length)
    for tensor, at_value, at_query in (
        (rows.inputs, values, 1),
        (rows.roles, VALUE, QUERY),
        (rows.needs, True, True),
    ):
        tensor.scatter_(1, place, at_value)
        tensor[:, -n_values:] = at_query
    rows.targets[:, -n_values:] = values
    return rows


def induction_heads(n: int, *, length: int, vocab_size: int, generator: torch.Generator) -> Sequences:
    """Induction heads (https://arxiv.org/abs/2209.11895): say what followed the marker when it came before.

    A row is random tokens, with the marker at a random place and again at the end, where the target is the
    token that followed the first one.

    Args:
        n: B, how many rows.
        length: L.
        vocab_size: token 0 is the marker, the others are random.
        generator: of all random numbers.

    Raises:
        ValueError: if a row is too short for both markers and a token between them.

    Example:
        >>> rows = induction_heads(1, length=6, vocab_size=9, generator=torch.Generator().manual_seed(0))
        >>> rows.inputs.tolist()
        [[5, 8, 6, 0, 4, 0]]
        >>> rows.targets.tolist()
        [[-100, -100, -100, -100, -100, 4]]
    """
    if length < 3 or vocab_size < 2:
        raise ValueError(
            f"induction needs a length of at least 3 and a vocab_size of at least 2, got {length}, "
            f"{vocab_size}"
        )
    rows = _blank(n, length)
    rows.inputs.copy_(torch.randint(1, vocab_size, (n, length), generator=generator))
    first = torch.randint(length - 2, (n, 1), generator=generator)
    rows.targets[:, -1:] = rows.inputs.gather(1, first + 1)
    rows.inputs.scatter_(1, first, 0)
    rows.inputs[:, -1] = 0
    rows.roles.scatter_(1, first, KEY).scatter_(1, first + 1, VALUE)
    rows.roles[:, -1] = QUERY
    rows.needs.scatter_(1, first + 1, True)
    rows.needs[:, -1] = True
    return rows


def _blank(n: int, length: int) -> Sequences:
    zeros = torch.zeros(n, length, dtype=torch.long)
    return Sequences(zeros, torch.full_like(zeros, UNASKED), zeros.bool(), torch.full_like(zeros, FILLER))


def _choose(n: int, total: int, k: int, generator: torch.Generator) -> Tensor:
    """`(n, k)`: for each row k different numbers below `total`, in random order."""
    return torch.rand(n, total, generator=generator).argsort(1)[:, :k]
