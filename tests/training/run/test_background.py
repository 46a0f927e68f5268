"""One job at a time beside the thread that trains."""

from threading import Event, get_ident

import pytest

from sma.training.run.background import Background

SECONDS = 20


def test_a_job_runs_beside_its_starter() -> None:
    held, seen = Event(), list[int]()

    def job() -> None:
        assert held.wait(SECONDS)
        seen.append(get_ident())

    with Background() as background:
        background.start(job)
        assert not seen  # and here goes on
        held.set()
    assert len(seen) == 1
    assert seen[0] != get_ident()


def test_a_later_job_waits_for_the_earlier_one() -> None:
    held, started, order = Event(), Event(), list[str]()

    def first() -> None:
        started.set()
        assert held.wait(SECONDS)
        order.append("first")

    def second() -> None:
        order.append("second")

    def free() -> None:
        assert started.wait(SECONDS)
        held.set()

    helper = Background()
    with helper, Background() as background:
        background.start(first)
        helper.start(free)
        background.start(second)
        background.wait()
    assert order == ["first", "second"]


def fail() -> None:
    raise OSError("no space")


def test_an_error_is_raised_once_where_it_is_waited_for() -> None:
    background, done = Background(), list[int]()
    background.start(fail)
    with pytest.raises(OSError, match="no space"):
        background.start(lambda: done.append(1))
    assert not done
    background.start(lambda: done.append(2))
    background.wait()
    assert done == [2]
    with pytest.raises(OSError, match="no space"), background:
        background.start(fail)


def leave_by_an_error() -> None:
    with Background() as background:
        background.start(fail)
        raise ValueError("loss")


def test_the_error_that_ends_the_block_is_the_one_to_see() -> None:
    with pytest.raises(ValueError, match="loss"):
        leave_by_an_error()
