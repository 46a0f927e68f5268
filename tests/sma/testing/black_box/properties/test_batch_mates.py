"""A model whose rows see each other is found."""

import pytest
from broken_models import Plain, SeesBatchMates

from sma.testing import check_model


def test_rows_that_see_each_other():
    finding = check_model(SeesBatchMates(), properties=["batch-mates"], examples=15)["batch-mates"]
    assert (finding.verdict, finding.input) == ("violated", "x = table [[0], [1]]")
    assert check_model(Plain(), properties=["batch-mates"], examples=5).ok


class FailsInLargeBatches(Plain):
    """Right with fewer rows than five."""

    def forward(self, x, mask=None):
        return super().forward(x, mask) + (len(x) > 4)


@pytest.mark.parametrize("name", ["batch-mates", "right padding", "left padding"])
def test_a_fault_that_needs_five_rows(name):
    report = check_model(FailsInLargeBatches(), properties=[name], confirmed=False)
    assert report[name].verdict == "violated"
