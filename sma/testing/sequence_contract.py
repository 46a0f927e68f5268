"""The contract suite of mixers, branches, blocks, and layers of sparse modular activation."""

from typing import Any

from torch import Tensor
from typing_extensions import TypeVar, override

from sma.elements import PackedRows
from sma.sequence import SequenceModule
from sma.state import State
from sma.testing.contract import (
    assert_close,
    assert_zero,
    costly_property_test,
    gradients,
    probe,
    property_test,
)
from sma.testing.row_contract import RowContract
from sma.testing.strategies import Draw, layouts

Tested = TypeVar("Tested", default=SequenceModule)
"""A module of sequences, or what a suite puts into one."""


class SequenceModuleContract(RowContract[Tested]):
    """The properties of everything that maps sequences to sequences; numbers refer to docs/design.md.

    Derive a class in a test file, and say how to make the module. Where it contains a learned router, set
    `jumps = True`. Inputs have padding of 0, as the contract of `SequenceModule` says; where the module takes
    any, set `padding = junk = NAN`.

    Example:
        >>> from sma import PerElement
        >>> from torch import nn
        >>> class TestLinear(SequenceModuleContract):
        ...     def make(self):
        ...         return PerElement(nn.Linear(8, 8))
        >>> TestLinear().test_autocast()
    """

    padding = 0.0
    junk = 0.0

    @override
    def run(self, module: Any, x: Tensor, mask: Tensor | None) -> Tensor:
        """Call the module."""
        return module(x, mask)

    @override
    def step(self, module: Any, x: Tensor, state: State, mask: Tensor | None) -> Tensor:
        """Call the module's `step`."""
        return module.step(x, state, mask)

    @property_test
    def test_padding_is_zero(self, draw: Draw) -> None:
        """Padding of the result is exactly 0, in whole rows and in steps."""
        layout = draw(layouts(max_length=self.max_length, max_padding=4))
        module, x = self.build(layout.seed), self.inputs(draw, layout)
        assert_zero(self.run(module, x, layout.real)[~layout.real], "the result at padding")
        if self._decodes(module):
            y = self._step(module, x, self._state(module, len(x)), layout)
            assert_zero(y[~layout.real], "the result of a step at padding")

    @costly_property_test
    def test_packed_rows(self, draw: Draw) -> None:
        """Property 4: rows one after another in one give what they give padded, and the same gradients."""
        layout = draw(layouts(max_length=self.max_length, max_padding=4))
        module, x = self.build(layout.seed), self.inputs(draw, layout, fill=0.0)
        if not module.takes_rows:
            return
        rows = PackedRows.of(layout.real)
        want = self.run(module, x, layout.real)
        want_gradients = gradients(probe(want[layout.real]), module)
        got = module(rows.pack(x), rows=rows)
        assert_close(rows.pad(got), want, "packed rows")
        for name, gradient in gradients(probe(got.squeeze(0)), module).items():
            assert_close(gradient, want_gradients[name], f"packed rows, the gradient of {name}")
