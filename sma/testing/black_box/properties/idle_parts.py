"""Parameters without a gradient where a part is idle, for which distributed training waits forever."""

from hypothesis import strategies as st
from typing_extensions import override

from sma.testing.black_box.inputs import draw_rows, sample
from sma.testing.black_box.programs import Trial
from sma.testing.black_box.properties.property import Property, assign, shown
from sma.testing.black_box.subject import Subject
from sma.testing.strategies import Draw


class IdleParts(Property):
    """Every parameter that gets a gradient from a large batch gets one from any other: zeros, not None.

    `DistributedDataParallel` waits for the gradients of all parameters that took part when it was made.
    """

    name = "gradients of idle parts"
    rounds = False

    @override
    def missing(self, subject: Subject) -> str | None:
        trained = any(parameter.requires_grad for parameter in subject.model.parameters())
        return None if trained else "it has no parameters that are trained"

    @override
    def tolerance(self, subject: Subject) -> float:
        return 0.0

    @override
    def trial(self, draw: Draw, subject: Subject) -> Trial:
        inputs = subject.caller.inputs
        rows = draw_rows(draw, inputs, draw(st.integers(1, 2)), draw(st.integers(1, subject.max_length)))
        large = sample(inputs, 4, subject.max_length)
        return Trial(
            (
                "def with_gradient(x):",
                "    torch.manual_seed(0), model.zero_grad()",
                f"    {subject.caller.forward()}.square().mean().backward()",
                "    return {name for name, p in model.named_parameters() if p.grad is not None}",
                "model.train()",
                assign("x", inputs, rows),
                assign("large", inputs, large),
                "lacking = with_gradient(large) - with_gradient(x)",
            ),
            shown=shown(inputs, x=rows),
            measure="len(lacking)",
            names="sorted(lacking)",
        )
