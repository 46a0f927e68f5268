"""A model that is not saved as a whole is found."""

from broken_models import KeepsNumbersForItself, Plain

from sma.architectures import seqboat
from sma.testing import check_model

NAMES = ["save and load"]


def test_numbers_that_are_in_no_file():
    assert (
        check_model(KeepsNumbersForItself, properties=NAMES, confirmed=False)[NAMES[0]].verdict == "violated"
    )
    assert check_model(Plain, properties=NAMES).ok


def test_a_model_with_a_spec():
    model = seqboat(vocab_size=16, d_model=8, n_layers=1).build()
    assert check_model(model, properties=NAMES)[NAMES[0]].verdict == "holds"


def test_an_object_alone_is_not_tried():
    assert "give a function that builds it" in check_model(Plain(), properties=NAMES)[NAMES[0]].reason
