"""Recall, copying and induction: targets by reading the rows, and needs by removing elements."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sma.training.generators.recall import (
    KEY,
    QUERY,
    VALUE,
    associative_recall,
    induction_heads,
    selective_copying,
)
from sma.training.tasks.task import IGNORED

SIZES = {
    associative_recall: {"length": 40, "n_pairs": 6, "n_queries": 4, "vocab_size": 33},
    selective_copying: {"length": 20, "n_values": 5, "vocab_size": 9},
    induction_heads: {"length": 12, "vocab_size": 7},
}
every = pytest.mark.parametrize("make", SIZES)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def answers(make, inputs):
    """The targets of a row, read from its tokens one after another."""
    found = [IGNORED] * len(inputs)
    if make is associative_recall:
        known = dict(zip(inputs[0:12:2], inputs[1:12:2], strict=True))
        for i in range(12, len(inputs)):
            if inputs[i] in known:
                found[i] = known[inputs[i]]
    elif make is selective_copying:
        found[-5:] = [token for token in inputs[:-5] if token]
    else:
        found[-1] = inputs[inputs.index(0) + 1]
    return found


@every
@given(seed=st.integers(0, 2**31))
def test_targets(make, seed):
    rows = make(3, **SIZES[make], generator=seeded(seed))
    assert rows.inputs.shape == rows.targets.shape == rows.needs.shape == rows.roles.shape
    assert rows.inputs.min() >= 0
    assert rows.inputs.max() < SIZES[make]["vocab_size"]
    for inputs, targets in zip(rows.inputs.tolist(), rows.targets.tolist(), strict=True):
        assert targets == answers(make, inputs)


@every
def test_needs_are_the_queries_and_what_they_ask_for(make):
    rows = make(50, **SIZES[make], generator=seeded(0))
    asked = rows.targets != IGNORED
    assert torch.equal(asked, rows.roles == QUERY)
    assert rows.needs[asked].all()
    held = rows.needs & ~asked
    assert (rows.roles[held] == VALUE).all()
    for inputs, targets, need in zip(rows.inputs, rows.targets, held, strict=True):
        assert sorted(inputs[need].tolist()) == sorted(targets[targets != IGNORED].tolist())


def test_keys_are_asked_for_once():
    rows = associative_recall(20, **SIZES[associative_recall], generator=seeded(0))
    for inputs, roles in zip(rows.inputs, rows.roles, strict=True):
        assert len(set(inputs[roles == KEY].tolist())) == 6
        assert len(set(inputs[roles == QUERY].tolist())) == 4


@every
def test_the_seed_gives_the_rows(make):
    first, again, other = (make(4, **SIZES[make], generator=seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(first.inputs, again.inputs)
    assert not torch.equal(first.inputs, other.inputs)


@pytest.mark.parametrize(
    ("make", "wrong", "told"),
    [
        (associative_recall, {"n_queries": 7}, "n_queries=7"),
        (associative_recall, {"vocab_size": 12}, "at least 13"),
        (associative_recall, {"length": 15}, "length to at least 16"),
        (selective_copying, {"length": 9}, "twice n_values=5"),
        (selective_copying, {"vocab_size": 2}, "at least 3"),
        (induction_heads, {"length": 2}, "length of at least 3"),
    ],
)
def test_wrong_sizes(make, wrong, told):
    with pytest.raises(ValueError, match=told):
        make(1, **{**SIZES[make], **wrong}, generator=seeded(0))
