"""Saving and loading: a model that is read from a file gives the same results."""

from typing_extensions import override

from sma.testing.black_box.inputs import sample
from sma.testing.black_box.programs import Trial
from sma.testing.black_box.properties.property import NO_GRADIENTS, Property, assign, places, shown
from sma.testing.black_box.subject import Subject
from sma.testing.strategies import Draw


class SaveAndLoad(Property):
    """A model that was saved and loaded gives the same results."""

    name = "save and load"
    once = True
    rounds = False

    @override
    def missing(self, subject: Subject) -> str | None:
        if subject.saving is not None:
            return None
        return "it has no save_pretrained; give a function that builds it, into which its state is loaded"

    @override
    def trial(self, draw: Draw, subject: Subject) -> Trial:
        inputs, caller = subject.caller.inputs, subject.caller
        rows = sample(inputs, 2, subject.max_length)
        return Trial(
            (
                NO_GRADIENTS,
                *(subject.saving or ()),
                assign("x", inputs, rows),
                f"expected = {caller.forward()}",
                f"got = {caller.forward(model='again')}",
            ),
            places(len(rows), len(rows[0]), pooled=caller.pooled),
            shown(inputs, x=rows),
        )
