"""Recomputation: activations that are computed again in the backward pass are the same."""

from hypothesis import strategies as st
from typing_extensions import override

from sma.testing.black_box.inputs import draw_rows
from sma.testing.black_box.programs import Trial
from sma.testing.black_box.properties.property import Property, assign, shown
from sma.testing.black_box.subject import Subject
from sma.testing.strategies import Draw


class Recomputation(Property):
    """In training, with the same seed, results and gradients are those without recomputation."""

    name = "recomputation"

    @override
    def missing(self, subject: Subject) -> str | None:
        if not any(parameter.requires_grad for parameter in subject.model.parameters()):
            return "it has no parameters that are trained"
        if not getattr(subject.model, "supports_gradient_checkpointing", True):
            return "it does not support gradient checkpointing"
        return None

    @override
    def trial(self, draw: Draw, subject: Subject) -> Trial:
        inputs = subject.caller.inputs
        rows = draw_rows(draw, inputs, draw(st.integers(1, 2)), draw(st.integers(1, subject.max_length)))
        switch, forward = subject.caller.recomputing()
        return Trial(
            (
                *(("import torch.utils.checkpoint",) if "utils.checkpoint" in forward else ()),
                "model.train()",
                assign("x", inputs, rows),
                "runs = []",
                "for recompute in (False, True):",
                *((f"    {switch}",) if switch else ()),
                "    torch.manual_seed(0), model.zero_grad()",
                f"    y = {forward}",
                "    y.square().mean().backward()",
                "    grads = [p.grad.flatten() for p in model.parameters() if p.grad is not None]",
                "    runs.append(torch.cat([y.detach().flatten(), *grads]))",
                "expected, got = runs",
            ),
            shown=shown(inputs, x=rows),
        )
