"""Precision: how far bfloat16 is from float32."""

import torch
from typing_extensions import override

from sma.testing.black_box.inputs import sample
from sma.testing.black_box.programs import Trial
from sma.testing.black_box.properties.property import NO_GRADIENTS, Property, assign, shown
from sma.testing.black_box.subject import Subject
from sma.testing.strategies import Draw

_RATIO = torch.finfo(torch.bfloat16).eps / torch.finfo(torch.float32).eps
_SLACK, _LEAST, _MOST = 8, 0.05, 0.5


class Drift(Property):
    """The rounding of bfloat16 is that of float32 times the ratio of their precisions, within a factor.

    Measured at the median element of a batch: a router near a threshold may decide otherwise for single ones.
    """

    name = "bfloat16 drift"
    once = True
    rounds = False
    optional = True

    @override
    def tolerance(self, subject: Subject) -> float:
        if subject.drift is None:
            return _MOST
        return min(max(_SLACK * _RATIO * subject.drift, _LEAST), _MOST)

    @override
    def trial(self, draw: Draw, subject: Subject) -> Trial:
        inputs, caller = subject.caller.inputs, subject.caller
        rows = sample(inputs, 2, subject.max_length)
        low = "x.bfloat16()" if inputs.setup("float") else "x"
        return Trial(
            (
                "import copy",
                NO_GRADIENTS,
                assign("x", inputs, rows),
                f"expected = {caller.forward()}",
                f"got = {caller.forward(low, model='copy.deepcopy(model).bfloat16()')}.float()",
            ),
            shown=shown(inputs, x=rows),
            measure="((got - expected).abs().flatten(0, -2).amax(-1).median() / expected.abs().max()).item()",
        )
