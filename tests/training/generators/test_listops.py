"""ListOps: values against a slow evaluation of the nested form, bounds, and independence of the workers."""

import statistics

import numpy as np
import pytest

from sma.training.generators.listops import (
    CLOSE,
    MAX,
    MED,
    MIN,
    SM,
    TOKENS,
    Sizes,
    evaluate,
    expressions,
)

SHORT = Sizes(min_length=5, max_length=60, max_depth=5, max_args=4)
FUNCTIONS = {
    "[MIN": min,
    "[MAX": max,
    "[MED": lambda v: int(statistics.median(v)),
    "[SM": lambda v: sum(v) % 10,
}


def split(chunk):
    return np.split(chunk["tokens"], chunk["ends"][:-1])


def nested(words):
    """The value of an expression by recursion over its words, and the words that follow."""
    head, *rest = words
    if head.isdigit():
        return int(head), 1, rest
    values, depths = [], []
    while rest[0] != "]":
        value, depth, rest = nested(rest)
        values.append(value)
        depths.append(depth)
    assert 2 <= len(values) <= SHORT.max_args
    return FUNCTIONS[head](values), 1 + max(depths), rest[1:]


def test_values_lengths_and_depths():
    chunks = list(expressions(700, SHORT, seed=3))
    parts = [part for chunk in chunks for part in split(chunk)]
    values = np.concatenate([chunk["labels"] for chunk in chunks])
    assert len(parts) == len(values) == 700
    depths = set()
    for part, value in zip(parts, values, strict=True):
        expected, depth, rest = nested([TOKENS[token] for token in part])
        assert (value, rest) == (expected, [])
        assert SHORT.min_length < len(part) < SHORT.max_length
        depths.add(depth)
    assert max(depths) == SHORT.max_depth
    assert len({part.tobytes() for part in parts}) == 700


def test_a_quarter_of_the_elements_are_operations():
    parts = [part for chunk in expressions(2000, Sizes(2, 10_000, 4, 3), seed=0) for part in split(chunk)]
    inner = [list(part[1:-1]) for part in parts if len(part) < 30]
    # Below the root, while nothing is nested yet: the first element after the root's operation.
    first = np.array([tokens[0] >= MIN for tokens in inner])
    assert abs(first.mean() - 0.25) < 0.06


def test_the_published_sizes():
    (chunk,) = expressions(60, Sizes(), seed=0)
    lengths = np.diff(chunk["ends"], prepend=0)
    assert lengths.min() > 500
    assert lengths.max() < 2000
    assert 900 < lengths.mean() < 1200


def test_workers_and_seeds():
    alone, shared, other = (
        np.concatenate([chunk["tokens"] for chunk in expressions(1200, SHORT, seed=seed, workers=workers)])
        for seed, workers in ((1, 1), (1, 2), (2, 1))
    )
    assert np.array_equal(alone, shared)
    assert not np.array_equal(alone[:500], other[:500])


@pytest.mark.parametrize(
    ("tokens", "value"),
    [
        ([MED, 2, 9, CLOSE], 5),
        ([MED, 7, 1, 3, CLOSE], 3),
        ([SM, 9, 9, MAX, 0, 1, CLOSE, CLOSE], 9),
        ([7], 7),
    ],
)
def test_evaluate(tokens, value):
    assert evaluate(bytes(tokens)) == value


@pytest.mark.parametrize(
    "tokens", [[], [1, 2], [CLOSE], [MIN, CLOSE], [MIN, 1], [MIN, 1, CLOSE, CLOSE], [3, CLOSE]]
)
def test_what_is_not_an_expression(tokens):
    with pytest.raises(ValueError, match="not an expression"):
        evaluate(bytes(tokens))


@pytest.mark.parametrize(
    ("sizes", "told"),
    [
        ((9, 10), "max_length=10"),
        ((0, 4), "max_length=4"),
        ((5, 50, 1), "max_depth"),
        ((5, 50, 3, 1), "max_args"),
    ],
)
def test_impossible_sizes(sizes, told):
    with pytest.raises(ValueError, match=told):
        Sizes(*sizes)


def test_too_few_different_ones():
    with pytest.raises(ValueError, match=r"only 400 different expressions .* 401 are asked for"):
        list(expressions(401, Sizes(3, 5, 2, 2), seed=0))  # four operations on two digits


def test_no_expression_is_long_enough():
    with pytest.raises(ValueError, match="at most 8 tokens"):
        Sizes(min_length=8, max_length=100, max_depth=2, max_args=6)
