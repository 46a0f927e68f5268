"""Tables of contests: ratios, who is ahead, and why a peer has no figure."""

import time

import pytest

from benchmarks.peer_table import Contest, Figure, Peer, told, verdict

MB = 2**20


def waits(threads, name, milliseconds):
    if name == "breaks":
        raise TypeError("no | such argument\nand more")
    return lambda: time.sleep(milliseconds / 1e3 * {"ours": 1, "slow": 4, "fast": 0.25}[name])


CONTEST = Contest(
    title="Waiting",
    text="For some time.",
    ours="ours",
    peers={
        "slow": Peer("sys", "sys"),
        "fast": Peer("sys", "sys", why="It waits less"),
        "breaks": Peer("sys", "sys"),
        "absent": Peer("not_there", "not-there"),
        "long": Peer("sys", "sys", not_run={"short": "it has no end"}),
    },
    settings={"short": (4,)},
    step=waits,
    memory=False,
    repeats=2,
)


def test_a_contest_measures_whom_it_can_and_tells_why_of_the_others():
    found = CONTEST.measure(threads=1, rounds=2, patience=60.0)
    assert found["ours"]["short"].seconds >= 0.002
    assert found["slow"]["short"].seconds > 2 * found["ours"]["short"].seconds
    assert found["breaks"]["short"] == "fails: TypeError: no / such argument"
    assert found["absent"]["short"] == "not installed: pip install not-there"
    assert found["long"]["short"] == "not run: it has no end"


def test_what_is_ours_may_not_fail():
    with pytest.raises(TypeError, match="such argument"):
        Contest("", "", "breaks", {}, {"": (1,)}, waits, memory=False).measure(1, 1, 1.0)


def test_the_table():
    found = {name: {"short": "not run: why"} for name in (CONTEST.ours, *CONTEST.peers)}
    found |= {
        "ours": {"short": Figure(0.5, 10 * MB)},
        "slow": {"short": Figure(2.0, 15 * MB)},
        "fast": {"short": Figure(0.25, 10 * MB)},
    }
    head, _, text, _, columns, _, *rows, end = CONTEST.lines(found)
    assert (head, text, columns, end) == ("### Waiting", "For some time.", "| | short | |", "")
    assert rows[:4] == [
        "| ours | 500.0 ms, 10 MB | |",
        "| slow | 2.00 s (4.00 x), 15 MB (1.50 x) | sma is ahead |",
        "| fast | 250.0 ms (0.50 x), 10 MB (1.00 x) | sma is behind: short, by 2.00 x. It waits less. |",
        "| breaks | not run: why |  |",
    ]


@pytest.mark.parametrize(
    ("theirs", "expected"),
    [
        ({"a": Figure(2.0), "b": Figure(3.0)}, "sma is ahead"),
        ({"a": Figure(2.0), "b": "fails"}, "sma is ahead"),
        ({"a": Figure(2.0), "b": Figure(0.98)}, "equal or ahead"),
        ({"a": Figure(0.5), "b": Figure(0.8)}, "sma is behind: a, by 2.00 x; b, by 1.25 x. Why."),
        ({"a": Figure(2.0, 5), "b": Figure(2.0)}, "sma is behind: memory, a, by 2.00 x. Why."),
        ({"a": "fails", "b": "fails"}, ""),
    ],
)
def test_verdicts(theirs, expected):
    ours = {"a": Figure(1.0, 10), "b": Figure(1.0)}
    assert verdict(theirs, ours, "Why") == expected


def test_a_reason_that_is_not_known_is_said_to_be():
    assert verdict({"a": Figure(0.5)}, {"a": Figure(1.0)}, "").endswith("by 2.00 x. The reason is not known.")


def test_an_error_without_a_text():
    assert told(ValueError()) == "fails: ValueError:"
