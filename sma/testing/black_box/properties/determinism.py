"""Determinism: the same input gives the same result, whatever was computed before."""

from hypothesis import strategies as st
from typing_extensions import override

from sma.testing.black_box.inputs import draw_rows
from sma.testing.black_box.programs import Trial
from sma.testing.black_box.properties.property import NO_GRADIENTS, Property, assign, places, shown
from sma.testing.black_box.subject import Subject
from sma.testing.strategies import Draw


class Determinism(Property):
    """In evaluation a second call has the results of the first, after one on something else and any seed."""

    name = "determinism"

    @override
    def trial(self, draw: Draw, subject: Subject) -> Trial:
        inputs, forward = subject.caller.inputs, subject.caller.forward
        n_rows, length = draw(st.integers(1, 2)), draw(st.integers(1, subject.max_length))
        rows = draw_rows(draw, inputs, n_rows, length)
        other = draw_rows(draw, inputs, draw(st.integers(1, 2)), draw(st.integers(1, subject.max_length)))
        return Trial(
            (
                NO_GRADIENTS,
                assign("x", inputs, rows),
                assign("other", inputs, other),
                f"expected = {forward()}",
                forward("other"),
                f"got = {forward()}",
            ),
            places(n_rows, length, pooled=subject.caller.pooled),
            shown(inputs, x=rows, other=other),
        )
