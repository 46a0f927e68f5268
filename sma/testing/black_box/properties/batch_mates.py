"""Independence of rows: what else is in a batch changes nothing."""

from hypothesis import strategies as st
from typing_extensions import override

from sma.testing.black_box.inputs import MOST_ROWS, draw_rows
from sma.testing.black_box.programs import Trial
from sma.testing.black_box.properties.property import NO_GRADIENTS, Property, assign, places, shown
from sma.testing.black_box.subject import Subject
from sma.testing.strategies import Draw


class BatchMates(Property):
    """A row has the same result alone as among others of its length.

    Args:
        swapped: whether rows stand on the second axis of the input, as in `(L, B, D)`.
    """

    name = "batch-mates"

    def __init__(self, *, swapped: bool = False) -> None:
        self.swapped = swapped

    @override
    def otherwise(self, subject: Subject) -> tuple[Property, str] | None:
        if subject.caller.pooled:
            return None
        return (
            BatchMates(swapped=True),
            "along its second axis it is independent: if it reads (L, B, D), build it with batch_first=True, "
            "or give a function call(model, x, mask) that transposes",
        )

    @override
    def trial(self, draw: Draw, subject: Subject) -> Trial:
        inputs, forward = subject.caller.inputs, subject.caller.forward
        n_rows = draw(st.integers(2, MOST_ROWS))
        length = draw(st.integers(1 + self.swapped, subject.max_length))
        rows = draw_rows(draw, inputs, n_rows, length)
        return Trial(
            (
                NO_GRADIENTS,
                assign("x", inputs, rows),
                f"got = {forward()}",
                f"expected = torch.cat([{forward('x[:, t:t + 1]')} for t in range(x.shape[1])], 1)"
                if self.swapped
                else f"expected = torch.cat([{forward('x[b:b + 1]')} for b in range(len(x))])",
            ),
            places(n_rows, length, pooled=subject.caller.pooled),
            shown(inputs, x=rows),
        )
