"""Documents that see each other in a row are found."""

import pytest
import torch
from torch import nn

from sma.testing import check_model
from sma.testing.black_box.callers.plain import PlainCaller
from sma.testing.black_box.inputs import Features
from sma.testing.black_box.properties.packing import PackedRows
from sma.testing.black_box.searching import search
from sma.testing.black_box.subject import prepare


class Documents(nn.Linear):
    """A running sum that begins anew at position 0 of a document, or does not."""

    def __init__(self, anew):
        super().__init__(4, 4)
        self.anew = anew

    def forward(self, x, positions=None):
        row = torch.zeros(x.shape[:2], dtype=torch.long)
        if self.anew and positions is not None:
            row = (positions == 0).cumsum(1)
        seen = (row[:, :, None] == row[:, None]).tril().to(x)
        return super().forward(seen @ x)


class Caller(PlainCaller):
    def packed(self, positions, mask=None):
        return f"model(x, {positions})"


@pytest.mark.parametrize("anew", [True, False])
def test_documents_are_told_apart_by_their_positions(anew):
    model = Documents(anew)
    subject = prepare(model, Caller(model, Features(4)), source=None, max_length=6)
    seen = search(PackedRows(), subject, 10)
    assert (seen.trial is None) == anew
    if not anew:
        assert seen.trial.places[seen.outcome.first] == (0, 1)
        assert "positions = [[0, 0]]" in seen.trial.shown


def test_other_models_are_not_tried():
    finding = check_model(nn.Linear(4, 4), properties=["packed rows"])["packed rows"]
    assert "only causal models that take positions" in finding.reason
