"""Cached decoding: piece by piece, results are those of whole rows."""

from itertools import accumulate

from hypothesis import strategies as st
from typing_extensions import override

from sma.testing.black_box.inputs import draw_row, draw_rows
from sma.testing.black_box.programs import Trial
from sma.testing.black_box.properties.padding import COUNTED, draw_padded, without_mask
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

LARGEST_WINDOW = 64
"""The longest window that rows are drawn longer than."""


def loop(
    subject: Subject, ends: list[int], *, masked: bool = False, counted: bool = False
) -> tuple[str, ...]:
    """The lines that read `x` in pieces up to these ends; they set `parts`, or `y` to the last of them.

    Args:
        subject: the model.
        ends: of the pieces.
        masked: whether there is a `mask`, whose padding stands on the left; then `parts` is not set.
        counted: whether there are `places`, the positions of elements.
    """
    decoding = subject.caller.decoding
    assert decoding is not None
    spans = list(zip([0, *ends[:-1]], ends, strict=True))
    positions = "places[:, a:b]" if counted else ""
    read = (
        decoding.reading_padded(positions) if masked else decoding.reading("x[:, a:b]", positions=positions)
    )
    return (
        *decoding.starting(),
        *(() if masked else ("parts = []",)),
        f"for a, b in {spans}:",
        *(f"    {line}" for line in read),
        *(() if masked else ("    parts.append(y)",)),
    )


def draw_ends(draw: Draw, most_prompt: int, most_pieces: int, most: int, *, beyond: int = 0) -> list[int]:
    """Where the pieces of a row end: a prompt of one to `most_prompt` elements, then at least one piece.

    Args:
        draw: draws.
        most_prompt: elements of the prompt.
        most_pieces: after it, if the row is long enough with them.
        most: elements of a piece.
        beyond: how many elements the row is longer than.
    """
    sizes = [draw(st.integers(1, most_prompt))]
    least = max(1, beyond + 1 - sizes[0])
    sizes += draw(st.lists(st.integers(1, most), min_size=least, max_size=max(least, most_pieces)))
    return list(accumulate(sizes))


class Decoding(Property):
    """A prompt, then pieces: the results are those of the whole row.

    Args:
        name: in reports.
        most: elements of a piece after the prompt.
        counted: whether the positions of elements are given.
    """

    def __init__(self, name: str, most: int, *, counted: bool = False) -> None:
        self.name, self.most, self.counted = name, most, counted

    @override
    def missing(self, subject: Subject) -> str | None:
        return needs_decoding(subject)

    @override
    def otherwise(self, subject: Subject) -> tuple[Property, str] | None:
        return counting(Decoding(self.name, self.most, counted=True), subject)

    @override
    def trial(self, draw: Draw, subject: Subject) -> Trial:
        inputs, ends = subject.caller.inputs, self.draw_ends(draw, subject)
        length = ends[-1]
        rows = draw_rows(draw, inputs, draw(st.integers(1, 2)), length)
        positions = (f"places = torch.arange({length}).expand(len(x), -1)",) if self.counted else ()
        return Trial(
            (
                NO_GRADIENTS,
                assign("x", inputs, rows),
                *positions,
                *loop(subject, ends, counted=self.counted),
                "got = torch.cat(parts, 1)",
                f"expected = {subject.caller.forward()}",
            ),
            places(len(rows), length),
            f"{shown(inputs, x=rows)}, pieces up to {ends}",
        )

    def draw_ends(self, draw: Draw, subject: Subject) -> list[int]:
        """Where the pieces end."""
        return draw_ends(draw, max(subject.max_length // 2, 1), 3, self.most)


class DecodingPastWindow(Decoding):
    """The same in rows that are longer than the model's window, or the chunks that it cuts rows into.

    Args:
        counted: whether the positions of elements are given.
    """

    def __init__(self, *, counted: bool = False) -> None:
        super().__init__("decoding past the window", 1, counted=counted)

    @override
    def missing(self, subject: Subject) -> str | None:
        window = subject.caller.window
        if (why := needs_decoding(subject)) is not None:
            return why
        if window is None:
            return "it has no window that is known; pass window=, if it has one"
        if window > LARGEST_WINDOW:
            return f"its window of {window:,} elements is longer than {LARGEST_WINDOW}"
        return None

    @override
    def otherwise(self, subject: Subject) -> tuple[Property, str] | None:
        return counting(DecodingPastWindow(counted=True), subject)

    @override
    def draw_ends(self, draw: Draw, subject: Subject) -> list[int]:
        window = subject.caller.window
        assert window is not None
        return draw_ends(draw, 2 * window, window + 3, 1, beyond=window)


class PaddedDecoding(Property):
    """A batch of prompts that are padded on the left, decoded on, as generation does.

    Positions are counted from the mask, where the model takes them.
    """

    name = "decoding, left padding"

    @override
    def missing(self, subject: Subject) -> str | None:
        return needs_decoding(subject) or without_mask(subject)

    @override
    def trial(self, draw: Draw, subject: Subject) -> Trial:
        inputs, caller = subject.caller.inputs, subject.caller
        padded = draw_padded(draw, inputs, subject.max_length, left=True)
        prompt = len(padded.rows[0])
        rows = [row + draw_row(draw, inputs, 1, 1) for row in padded.rows]
        mask = [[*row, 1] for row in padded.mask]
        alone = caller.forward("row[real][None]")
        return Trial(
            (
                NO_GRADIENTS,
                assign("x", inputs, rows),
                f"mask = torch.tensor({mask}).bool()",
                *((COUNTED,) if caller.positions else ()),
                *loop(subject, [prompt, prompt + 1], masked=True, counted=caller.positions),
                "got = y[:, -1:]",
                f"expected = torch.cat([{alone}[:, -1:] for row, real in zip(x, mask)])",
            ),
            tuple((b, prompt) for b in range(len(rows))),
            shown(inputs, x=rows, mask=mask),
        )


class DecodingAnew(Property):
    """A row that is decoded after another one, from a cache of its own, has the results of the whole row."""

    name = "decoding after another row"

    @override
    def missing(self, subject: Subject) -> str | None:
        return needs_decoding(subject)

    @override
    def trial(self, draw: Draw, subject: Subject) -> Trial:
        inputs, caller = subject.caller.inputs, subject.caller
        decoding = caller.decoding
        assert decoding is not None
        other, row = draw_row(draw, inputs, 1, subject.max_length), draw_row(draw, inputs, 1, 3)
        return Trial(
            (
                NO_GRADIENTS,
                assign("other", inputs, [other]),
                assign("x", inputs, [row]),
                *decoding.starting("other"),
                *decoding.reading("other"),
                *decoding.starting(),
                *decoding.reading("x"),
                "got = y",
                f"expected = {caller.forward()}",
            ),
            places(1, len(row)),
            shown(inputs, other=[other], x=[row]),
        )
