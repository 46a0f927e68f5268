"""Packed rows: documents one after another in a row do not see each other."""

from hypothesis import strategies as st
from typing_extensions import override

from sma.testing.black_box.inputs import Rows, draw_row
from sma.testing.black_box.programs import Trial
from sma.testing.black_box.properties.padding import without_mask
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
            return per_element(subject) or subject.caller.why_no_positions
        return None

    @override
    def unsupported(self) -> tuple[Property, str] | None:
        return UnseparatedRows(), "positions that begin anew do not separate documents"

    @override
    def trial(self, draw: Draw, subject: Subject) -> Trial:
        documents = _documents(draw, subject)
        alone = (
            f"expected = torch.cat([{subject.caller.forward('part')}[0] for part in "
            f"x.split({list(map(len, documents))}, 1)])"
        )
        return _packed(documents, subject, alone)


class UnseparatedRows(Property):
    """Documents one after another have the results of one row, in which every element sees all before it."""

    name = "unseparated rows"

    @override
    def missing(self, subject: Subject) -> str | None:
        return PackedRows().missing(subject) or without_mask(subject)

    @override
    def trial(self, draw: Draw, subject: Subject) -> Trial:
        whole = f"expected = {subject.caller.packed('places', 'torch.ones_like(x).bool()')}[0]"
        return _packed(_documents(draw, subject), subject, whole)


def _documents(draw: Draw, subject: Subject) -> Rows:
    most = max(subject.max_length // 2, 1)
    return [draw_row(draw, subject.caller.inputs, 1, most) for _ in range(draw(st.integers(2, 3)))]


def _packed(documents: Rows, subject: Subject, expected: str) -> Trial:
    """The trial that compares documents in one row with what a line expects."""
    inputs = subject.caller.inputs
    row = [n for document in documents for n in document]
    counted = [i for document in documents for i in range(len(document))]
    return Trial(
        (
            NO_GRADIENTS,
            assign("x", inputs, [row]),
            f"places = torch.tensor([{counted}])",
            f"got = {subject.caller.packed('places')}[0]",
            expected,
        ),
        places(1, len(row)),
        shown(inputs, x=[row], positions=[counted]),
    )
