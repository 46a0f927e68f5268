"""Causality: what comes later changes nothing."""

from hypothesis import strategies as st
from typing_extensions import override

from sma.testing.black_box.inputs import draw_row
from sma.testing.black_box.programs import Trial
from sma.testing.black_box.properties.property import (
    NO_GRADIENTS,
    Property,
    assign,
    per_element,
    places,
    shown,
)
from sma.testing.black_box.subject import Subject
from sma.testing.strategies import Draw


class Causality(Property):
    """Neither what follows an element, nor whether anything follows it, changes its result."""

    name = "causality"

    @override
    def missing(self, subject: Subject) -> str | None:
        if subject.caller.causal is None:
            return per_element(subject) or "whether it is causal is not known; pass causal=True"
        return "it is not causal" if not subject.caller.causal else per_element(subject)

    @override
    def trial(self, draw: Draw, subject: Subject) -> Trial:
        inputs, forward = subject.caller.inputs, subject.caller.forward
        row = draw_row(draw, inputs, 2, subject.max_length)
        t = draw(st.integers(1, len(row) - 1))
        later = draw(st.just([]) | st.just(None))
        if later is None:
            later = draw_row(draw, inputs, len(row) - t, len(row) - t)
        rows = {"x": [row], "other": [row[:t] + later]}
        return Trial(
            (
                NO_GRADIENTS,
                *(assign(name, inputs, value) for name, value in rows.items()),
                f"expected = {forward()}[:, :{t}]",
                f"got = {forward('other')}[:, :{t}]",
            ),
            places(1, t),
            shown(inputs, **rows),
        )
