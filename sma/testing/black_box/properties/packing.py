"""Packed rows: documents one after another in a row do not see each other."""

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


class PackedRows(Property):
    """Documents one after another in a row, told apart by their positions, have the results of each alone."""

    name = "packed rows"

    @override
    def missing(self, subject: Subject) -> str | None:
        if subject.caller.packed("places") is None:
            return (
                per_element(subject) or "only causal models that take positions tell documents apart by them"
            )
        return None

    @override
    def trial(self, draw: Draw, subject: Subject) -> Trial:
        inputs, caller = subject.caller.inputs, subject.caller
        most = max(subject.max_length // 2, 1)
        documents = [draw_row(draw, inputs, 1, most) for _ in range(draw(st.integers(2, 3)))]
        row = [n for document in documents for n in document]
        counted = [i for document in documents for i in range(len(document))]
        return Trial(
            (
                NO_GRADIENTS,
                assign("x", inputs, [row]),
                f"places = torch.tensor([{counted}])",
                f"got = {caller.packed('places')}[0]",
                f"expected = torch.cat([{caller.forward('part')}[0] for part in "
                f"x.split({list(map(len, documents))}, 1)])",
            ),
            places(1, len(row)),
            shown(inputs, x=[row], positions=[counted]),
        )
