"""The contract suite of mixers, branches, blocks, and layers of sparse modular activation."""

from typing import Any

from torch import Tensor
from typing_extensions import TypeVar, override

from sma.sequence import SequenceModule
from sma.state import State
from sma.testing.row_contract import RowContract

Tested = TypeVar("Tested", default=SequenceModule)
"""A module of sequences, or what a suite puts into one."""


class SequenceModuleContract(RowContract[Tested]):
    """The properties of everything that maps sequences to sequences; numbers refer to docs/design.md.

    Derive a class in a test file, and say how to make the module. Where it contains a learned router, set
    `jumps = True`.

    Example:
        >>> from sma import PerElement
        >>> from torch import nn
        >>> class TestLinear(SequenceModuleContract):
        ...     def make(self):
        ...         return PerElement(nn.Linear(8, 8))
        >>> TestLinear().test_autocast()
    """

    @override
    def make(self) -> Tested:
        """Return a new module of sequences `(B, L, self.d_model)`."""
        raise NotImplementedError(f"{type(self).__name__} needs a method `make`")

    @override
    def run(self, module: Any, x: Tensor, mask: Tensor | None) -> Tensor:
        """Call the module."""
        return module(x, mask)

    @override
    def step(self, module: Any, x: Tensor, state: State, mask: Tensor | None) -> Tensor:
        """Call the module's `step`."""
        return module.step(x, state, mask)
