"""The contract of a sub-module: what can be routed."""

from abc import abstractmethod

import torch
from torch import Tensor, nn
from typing_extensions import override

from sma.checks import check_features, describe
from sma.elements import Elements
from sma.part import Part
from sma.sequence import input_width, matrix_flops
from sma.state import NoState, StateT


class SubModule(Part[StateT]):
    """A function of the active elements of a batch, and of nothing else.

    Elements of different rows must not influence each other, and padding slots must influence nothing; what
    is returned in a padding slot is dropped, but must be finite. All parameters must take part for any
    number of elements, zero included, so that every gradient is a tensor.

    `causal` says whether an element's result depends on nothing after it, `uses_edges` whether it reads
    `elements.edges`, and `element_wise` whether an element's result depends on nothing but the element.

    Decoding is optional: a sub-module that supports it implements `init_state` and `step`.

    Example:
        >>> class Tanh(SubModule):
        ...     def forward(self, elements):
        ...         return elements.x.tanh()
        >>> from sma import PackedCompaction
        >>> Tanh()(PackedCompaction().compress(torch.zeros(1, 2, 1), torch.tensor([[True, False]])))
        tensor([[0.]])
    """

    element_wise: bool = False

    @abstractmethod
    @override
    def forward(self, elements: Elements) -> Tensor:
        """One result per slot.

        Args:
            elements: T slots with `x (T, D)`.

        Returns:
            `(T, D)`.
        """

    def step(self, elements: Elements, state: StateT) -> Tensor:
        """Process the next active elements of some rows, advancing `state` in place.

        A row without elements here keeps its state. One element per active row is a decoding step; more of
        them, in order, are a chunk of a prompt. The result equals `forward` on all elements so far; to
        gradients, the state is a constant.

        Args:
            elements: the new elements; their `row` says which row of the state they continue.
            state: as `init_state` returned it.

        Returns:
            `(T, D)`.
        """
        raise NotImplementedError(f"{type(self).__name__} does not support step-by-step decoding")

    def flops(self, n: int) -> int:
        """Floating-point operations of a forward pass over `n` elements; a multiply-add counts as 2.

        Matrix products and attention are counted, element-wise functions are not.
        """
        raise NotImplementedError(f"{type(self).__name__} does not count its operations")


def check_result(result: Tensor, elements: Elements, module: nn.Module, name: str) -> Tensor:
    """Return the results of a sub-module, called `name` in its layer, checked to be one per slot.

    Raises:
        ValueError: if it is not `(T, D)` as the elements are.
    """
    x = elements.x  # T is not compared in compiled code, which may not know it
    is_list = isinstance(result, Tensor) and result.dim() == 2 and result.shape[1] == x.shape[1]
    if not is_list or (not torch.compiler.is_compiling() and len(result) != len(x)):
        raise ValueError(
            f"{name} ({type(module).__name__}) must return (T, D) = {tuple(x.shape)}, one result per slot, "
            f"got {describe(result)}; build it for that width"
        )
    return result


class ElementWise(SubModule[NoState]):
    """Base of sub-modules whose elements do not see each other, so that there is nothing to remember."""

    element_wise = True

    @abstractmethod
    @override
    def forward(self, elements: Elements) -> Tensor: ...

    @override
    def init_state(
        self, batch_size: int, *, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> NoState:
        """Nothing to remember."""
        return NoState()

    @override
    def step(self, elements: Elements, state: NoState) -> Tensor:
        return self(elements)


class Pointwise(ElementWise):
    """Any module that maps `(T, D)` to `(T, D)` element by element, as a sub-module.

    Args:
        module: applied to the flat list. It must treat slots independently.
        flops_per_element: for `flops`: a count, or None to count two per weight of every matrix.

    Example:
        >>> module = Pointwise(nn.Linear(4, 4))
        >>> module.flops(10)
        320
    """

    def __init__(self, module: nn.Module, *, flops_per_element: int | None = None) -> None:
        super().__init__()
        self.module = module
        self.flops_per_element = flops_per_element

    @override
    def forward(self, elements: Elements) -> Tensor:
        check_features(elements.x, 2, input_width(self.module))
        return self.module(elements.x)

    @override
    def flops(self, n: int) -> int:
        if self.flops_per_element is not None:
            return n * self.flops_per_element
        return n * matrix_flops(self.module)
