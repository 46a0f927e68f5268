"""A model that is recomputed otherwise is found."""

from broken_models import Plain, RecomputesOtherwise
from torch import nn

from sma.testing import check_model

NAMES = ["recomputation"]


def test_a_recomputation_that_is_another_computation():
    finding = check_model(RecomputesOtherwise(), properties=NAMES, examples=5)["recomputation"]
    assert (finding.verdict, finding.input) == ("violated", "x = table [[0]]")
    assert check_model(Plain(), properties=NAMES, examples=5).ok


def test_dropout_is_the_same_with_the_same_seed():
    assert check_model(nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5)), properties=NAMES, examples=5).ok


def test_a_model_without_parameters_is_not_tried():
    report = check_model(nn.Identity(), d_model=4, properties=NAMES)
    assert report["recomputation"].reason == "it has no parameters that are trained"
