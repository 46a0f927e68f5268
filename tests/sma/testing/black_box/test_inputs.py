"""Inputs as Python."""

import torch

from sma.testing.black_box.inputs import Features, Tokens, sample


def run(inputs, rows):
    names = {"torch": torch}
    exec("\n".join((*inputs.setup("double"), f"x = {inputs.tensor(rows)}")), names)
    return names["x"]


def test_tokens_vectors_and_numbers():
    rows = [[0, 1], [1, 0]]
    assert torch.equal(run(Tokens((0, 1), padding=2), rows), torch.tensor(rows))
    vectors = run(Features(3), rows)
    assert (vectors.shape, vectors.dtype) == ((2, 2, 3), torch.float64)
    assert torch.equal(vectors[0, 1], vectors[1, 0])
    assert run(Features(None), rows).shape == (2, 2)


def test_a_sample_holds_every_kind_of_element():
    inputs = Features(3)
    rows = sample(inputs, 2, 8)
    assert set(rows[0]) == set(rows[1]) == set(inputs.ids)
    assert rows[0] != rows[1]
    assert inputs.padding not in rows[0]
