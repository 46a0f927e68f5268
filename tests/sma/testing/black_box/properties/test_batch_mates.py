"""A model whose rows see each other is found."""

from broken_models import Plain, SeesBatchMates

from sma.testing import check_model


def test_rows_that_see_each_other():
    finding = check_model(SeesBatchMates(), properties=["batch-mates"], examples=15)["batch-mates"]
    assert (finding.verdict, finding.input) == ("violated", "x = table [[0], [1]]")
    assert check_model(Plain(), properties=["batch-mates"], examples=5).ok
