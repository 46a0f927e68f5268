"""Rows that are reordered, leave a running batch, or join it, each with its part of the cache."""

from hypothesis import strategies as st
from typing_extensions import override

from sma.testing.black_box.inputs import MOST_ROWS, Rows, draw_rows
from sma.testing.black_box.programs import Trial
from sma.testing.black_box.properties.property import (
    NO_GRADIENTS,
    Property,
    assign,
    counting,
    needs_decoding,
    places,
    shown,
)
from sma.testing.black_box.subject import Subject
from sma.testing.strategies import Draw


def draw_order(draw: Draw, n_rows: int, *, leave: bool) -> list[int]:
    """Which rows go on: any of them, some twice, as in beam search; or fewer, each once."""
    if not leave:
        return draw(st.lists(st.integers(0, n_rows - 1), min_size=n_rows, max_size=n_rows))
    gone = draw(st.integers(0, n_rows - 1))
    return [b for b in range(n_rows) if b != gone]


class MovedRows(Property):
    """Rows of a running batch go on in another order, or fewer of them, as each of them alone.

    Args:
        leave: whether rows leave, and are not only reordered.
        counted: whether the positions of elements are given.
    """

    def __init__(self, *, leave: bool, counted: bool = False) -> None:
        self.leave, self.counted = leave, counted
        self.name = "rows that leave" if leave else "beam reorder"

    @override
    def missing(self, subject: Subject) -> str | None:
        return needs_decoding(subject) or _not_offered(subject, "leave" if self.leave else "select")

    @override
    def otherwise(self, subject: Subject) -> tuple[Property, str] | None:
        return counting(MovedRows(leave=self.leave, counted=True), subject)

    @override
    def trial(self, draw: Draw, subject: Subject) -> Trial:
        inputs, caller = subject.caller.inputs, subject.caller
        decoding = caller.decoding
        assert decoding is not None
        move = decoding.leave if self.leave else decoding.select
        assert move is not None
        n_rows, length = draw(st.integers(2, MOST_ROWS)), draw(st.integers(1, subject.max_length - 1))
        x, order = draw_rows(draw, inputs, n_rows, length), draw_order(draw, n_rows, leave=self.leave)
        more = draw_rows(draw, inputs, len(order), 1)
        seen = f"torch.arange({length}).expand(len(x), -1)" if self.counted else ""
        new = f"torch.full_like(rows[:, None], {length})" if self.counted else ""
        return Trial(
            (
                NO_GRADIENTS,
                assign("x", inputs, x),
                assign("more", inputs, more),
                f"rows = torch.tensor({order})",
                *decoding.starting(),
                *decoding.reading("x", positions=seen),
                move.format(cache="cache", rows="rows"),
                *decoding.reading("more", positions=new),
                "got = y",
                f"expected = {caller.forward('torch.cat([x[rows], more], 1)')}[:, -1:]",
            ),
            tuple((b, length) for b in range(len(order))),
            f"{shown(inputs, x=x, more=more)}, rows {order}",
        )


class JoiningRows(Property):
    """Rows that have read something else join a running batch, and go on as each of them alone."""

    name = "rows that join"

    @override
    def missing(self, subject: Subject) -> str | None:
        return needs_decoding(subject) or _not_offered(subject, "join")

    @override
    def trial(self, draw: Draw, subject: Subject) -> Trial:
        inputs, caller = subject.caller.inputs, subject.caller
        decoding = caller.decoding
        assert decoding is not None
        assert decoding.join is not None
        batches: dict[str, Rows] = {
            name: draw_rows(draw, inputs, draw(st.integers(1, 2)), draw(st.integers(1, subject.max_length)))
            for name in ("x", "new")
        }
        first = len(batches["x"])
        more = draw_rows(draw, inputs, first + len(batches["new"]), 1)
        alone = [
            caller.forward(f"torch.cat([{name}, more[{part}]], 1)") + "[:, -1:]"
            for name, part in (("x", f":{first}"), ("new", f"{first}:"))
        ]
        return Trial(
            (
                NO_GRADIENTS,
                *(assign(name, inputs, rows) for name, rows in {**batches, "more": more}.items()),
                *decoding.starting(),
                *decoding.reading("x"),
                *decoding.starting("new", "other"),
                *decoding.reading("new", "other"),
                decoding.join.format(cache="cache", other="other"),
                *decoding.reading("more"),
                "got = y",
                f"expected = torch.cat([{', '.join(alone)}])",
            ),
            places(len(more), 1),
            shown(inputs, **batches, more=more),
        )


def _not_offered(subject: Subject, what: str) -> str | None:
    """Why rows cannot be moved so; None if they can."""
    decoding = subject.caller.decoding
    if decoding is None or getattr(decoding, what) is not None:
        return None
    return dict(decoding.why_not).get(what, "its cache has no such operation")
