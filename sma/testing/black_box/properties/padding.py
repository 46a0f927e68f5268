"""Padding: where it stands, and what it holds, changes nothing."""

from dataclasses import dataclass

from hypothesis import strategies as st
from typing_extensions import override

from sma.testing.black_box.inputs import MOST_ROWS, Inputs, Rows, draw_row
from sma.testing.black_box.programs import Trial
from sma.testing.black_box.properties.property import NO_GRADIENTS, Property, assign, counting, shown
from sma.testing.black_box.subject import Subject
from sma.testing.strategies import Draw

COUNTED = "places = (mask.cumsum(1) - 1).clamp(min=0)"
"""The line that counts the positions of real elements."""


@dataclass(frozen=True)
class Padded:
    """Rows with padding.

    Attributes:
        rows: of one length.
        mask: 1 at real elements, 0 at padding.
    """

    rows: Rows
    mask: Rows

    @property
    def line(self) -> str:
        """The line that sets `mask`."""
        return f"mask = torch.tensor({self.mask}).bool()"

    def places(self, *, pooled: bool) -> tuple[tuple[int, int | None], ...]:
        """Row and position of the results that are compared."""
        if pooled:
            return tuple((b, None) for b in range(len(self.rows)))
        return tuple((b, i) for b, row in enumerate(self.mask) for i, real in enumerate(row) if real)


def pad(rows: Rows, extra: int, padding: int, *, left: bool) -> Padded:
    """Pad rows to the longest of them and `extra` more.

    Example:
        >>> pad([[5, 6], [7]], 0, padding=0, left=True)
        Padded(rows=[[5, 6], [0, 7]], mask=[[1, 1], [0, 1]])
    """
    width = max(map(len, rows)) + extra
    more = [width - len(row) for row in rows]
    if left:
        filled = [[padding] * n + row for n, row in zip(more, rows, strict=True)]
        return Padded(filled, [[0] * n + [1] * (width - n) for n in more])
    filled = [row + [padding] * n for n, row in zip(more, rows, strict=True)]
    return Padded(filled, [[1] * (width - n) + [0] * n for n in more])


def draw_padded(draw: Draw, inputs: Inputs, max_length: int, *, left: bool) -> Padded:
    """One to five rows with padding in at least one of them."""
    rows = [draw_row(draw, inputs, 1, max_length) for _ in range(draw(st.integers(1, MOST_ROWS)))]
    uneven = len({len(row) for row in rows}) > 1
    return pad(rows, draw(st.integers(0 if uneven else 1, 3)), inputs.padding, left=left)


def without_mask(subject: Subject) -> str | None:
    """Why a property of padding is not tried."""
    return None if subject.caller.masks else subject.caller.why_no_mask


class Padding(Property):
    """A row with padding has the same results at its real elements as alone without padding.

    Args:
        left: whether padding stands before real elements, not behind them.
        counted: whether positions are given, counted from the mask.
    """

    def __init__(self, *, left: bool, counted: bool = False) -> None:
        self.left, self.counted = left, counted
        self.name = f"{'left' if left else 'right'} padding"

    @override
    def missing(self, subject: Subject) -> str | None:
        return without_mask(subject)

    @override
    def otherwise(self, subject: Subject) -> tuple[Property, str] | None:
        return counting(Padding(left=self.left, counted=True), subject)

    @override
    def trial(self, draw: Draw, subject: Subject) -> Trial:
        inputs, caller = subject.caller.inputs, subject.caller
        padded = draw_padded(draw, inputs, subject.max_length, left=self.left)
        padded_call = caller.forward(mask="mask", positions="places" if self.counted else None)
        alone = caller.forward("row[real][None]")
        if caller.pooled:
            compared = (
                f"got = {padded_call}",
                f"expected = torch.cat([{alone} for row, real in zip(x, mask)])",
            )
        else:
            compared = (
                f"got = {padded_call}[mask]",
                f"expected = torch.cat([{alone}[0] for row, real in zip(x, mask)])",
            )
        positions = (COUNTED,) if self.counted else ()
        return Trial(
            (NO_GRADIENTS, assign("x", inputs, padded.rows), padded.line, *positions, *compared),
            padded.places(pooled=caller.pooled),
            shown(inputs, x=padded.rows, mask=padded.mask),
        )


class PaddingContent(Property):
    """What padding holds does not change the results at real elements.

    Args:
        counted: whether positions are given, counted from the mask.
    """

    name = "padding's content"

    def __init__(self, *, counted: bool = False) -> None:
        self.counted = counted

    @override
    def missing(self, subject: Subject) -> str | None:
        return without_mask(subject)

    @override
    def otherwise(self, subject: Subject) -> tuple[Property, str] | None:
        return counting(PaddingContent(counted=True), subject)

    @override
    def trial(self, draw: Draw, subject: Subject) -> Trial:
        inputs, caller = subject.caller.inputs, subject.caller
        padded = draw_padded(draw, inputs, subject.max_length, left=draw(st.booleans()))
        other = draw(st.sampled_from(inputs.ids))
        positions = "places" if self.counted else None
        changed = [
            [n if real else other for n, real in zip(row, reals, strict=True)]
            for row, reals in zip(padded.rows, padded.mask, strict=True)
        ]
        at = "" if caller.pooled else "[mask]"
        return Trial(
            (
                NO_GRADIENTS,
                assign("x", inputs, padded.rows),
                assign("other", inputs, changed),
                padded.line,
                *((COUNTED,) if self.counted else ()),
                f"expected = {caller.forward(mask='mask', positions=positions)}{at}",
                f"got = {caller.forward('other', mask='mask', positions=positions)}{at}",
            ),
            padded.places(pooled=caller.pooled),
            shown(inputs, x=padded.rows, other=changed, mask=padded.mask),
        )
