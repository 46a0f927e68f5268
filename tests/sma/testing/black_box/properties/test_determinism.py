"""A model whose results are random in evaluation is found."""

from broken_models import DropsInEvaluation, Plain

from sma.testing import check_model

NAMES = ["determinism"]


def test_dropout_that_is_never_switched_off():
    assert (
        check_model(DropsInEvaluation(), properties=NAMES, examples=10)["determinism"].verdict == "violated"
    )
    assert check_model(Plain(), properties=NAMES, examples=5).ok
