"""Times to expect, counted by hand."""

import pytest
import torch

from sma.modules.kernels.cubins import CHIPS, Chip
from sma.modules.kernels.estimates import Work, attention_work, compaction_share, recurrence_work, scan_work

CHIP = Chip("made up", 0, bandwidth=100.0, half=20.0, single=10.0)


@pytest.mark.parametrize(
    ("work", "seconds"),
    [
        (Work(200.0), 2.0),
        (Work(200.0, half=60.0), 3.0),
        (Work(0.0, single=10.0), 3.0),  # three products at half the rate of bfloat16
        (Work(0.0, vector=40.0, half=20.0), 4.0),
    ],
)
def test_the_tightest_limit_counts(work, seconds):
    assert work.seconds(CHIP) == seconds


def test_attention():
    """64 queries of a block reach 128 + 64 keys; a head of 64 in bfloat16 is read and written once."""
    work = attention_work(1000, 2, 64, 64, 128, torch.bfloat16, backward=False)
    assert work.memory == 1000 * 2 * 4 * 64 * 2
    assert work.half == 2 * (1000 * 2 * 192) * (64 + 64)
    assert work.single == 0
    backward = attention_work(1000, 2, 64, 64, 128, torch.bfloat16, backward=True)
    assert backward.half == 2 * (1000 * 2 * 192) * 8 * 64  # eight products of 64 columns


def test_recurrence():
    """x twice, y once, and a state of 16 per 64 elements written, read, written and read."""
    work = recurrence_work(1000, 10, 16, complex=False, backward=False)
    assert work.memory == 4 * 1000 * 10 * (3 + 4 * 16 / 64)
    backward = recurrence_work(1000, 10, 16, complex=True, backward=True)
    assert backward.memory > 2 * work.memory


def test_scan():
    work = scan_work(640, 1, 32, 32, backward=False)
    assert work.single == 2 * 640 * (32 * 32 + 64 * (32 + 32) + 32 * 32)


def test_little_is_saved_by_fusing_compaction():
    shares = [compaction_share(512, 128, 1024, active) for active in (0.0, 0.1, 1.0)]
    assert shares[0] == 0
    assert shares == sorted(shares)
    assert shares[-1] < 0.1


def test_newer_chips_are_faster():
    work = attention_work(10_000, 8, 64, 64, 128, torch.bfloat16, backward=True)
    times = [work.seconds(chip) for chip in CHIPS.values()]
    assert times == sorted(times, reverse=True)
