"""A model that peeks ahead is found, with the smallest row that shows it."""

import pytest
from broken_models import PeeksAhead, Plain, SeesPadding

from sma.testing import check_model

NAMES = ["causality"]


def test_a_model_that_peeks_ahead():
    finding = check_model(PeeksAhead(), properties=NAMES, examples=15)["causality"]
    assert (finding.verdict, finding.row, finding.position) == ("violated", 0, 0)
    assert finding.input.count("table [[0, ") >= 1
    assert 1e-3 < finding.difference < 0.1


@pytest.mark.parametrize(
    ("model", "causal", "verdict", "reason"),
    [
        (Plain(), None, "holds", ""),
        (SeesPadding(), None, "not tried", "it is not causal"),
        (SeesPadding(), True, "violated", ""),
    ],
)
def test_what_a_model_says_and_what_is_said_of_it(model, causal, verdict, reason):
    finding = check_model(model, causal=causal, properties=NAMES, examples=10)["causality"]
    assert (finding.verdict, finding.reason) == (verdict, reason)
