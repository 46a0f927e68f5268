"""Models that see padding are found, by side and content."""

import pytest
from broken_models import CountsFromTheLeft, Plain, RunningMean, SeesPadding
from torch import nn

from sma.testing import check_model
from sma.testing.black_box.properties.padding import pad

NAMES = ["right padding", "left padding", "padding's content"]


@pytest.mark.parametrize(
    ("model", "violated"),
    [
        (Plain(), []),
        (RunningMean(), []),
        (SeesPadding(), NAMES),
        (CountsFromTheLeft(), ["left padding"]),
        (nn.TransformerEncoderLayer(4, 2, 8, batch_first=True), []),
    ],
    ids=lambda value: type(value).__name__,
)
def test_each_fault_is_found(model, violated):
    report = check_model(model, properties=NAMES, examples=10, max_length=5)
    assert [finding.name for finding in report.violations] == violated, report


def test_the_smallest_row_with_padding():
    finding = check_model(SeesPadding(), properties=["right padding"], examples=10)["right padding"]
    assert (finding.input, finding.position) == ("x = table [[0, 8]], mask = [[1, 0]]", 0)


def test_a_module_without_a_mask_is_not_tried():
    finding = check_model(nn.Linear(4, 4), properties=["left padding"])["left padding"]
    assert (finding.verdict, finding.reason) == ("not tried", "it takes no mask of padding")


def test_rows_are_padded_on_either_side():
    assert pad([[5, 6], [7]], 1, 0, left=False).rows == [[5, 6, 0], [7, 0, 0]]
    assert pad([[5, 6], [7]], 1, 0, left=True).mask == [[0, 1, 1], [0, 0, 1]]
