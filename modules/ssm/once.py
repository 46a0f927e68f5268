"""Values that depend on the weights alone, computed once per decoding state and not once per step."""

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from sma.checks import PLAIN
from sma.modules.functional import transformed
from sma.state import State

T = TypeVar("T")
_PLACE = "_once_per_state"  # an attribute that no copy of a state has


@dataclass(frozen=True)
class _Kept:
    tensors: list[Tensor]
    marks: list[tuple[int, int]]
    made: Any


def once_per_state(state: State, module: nn.Module, make: Callable[[], T]) -> T:
    """What `make` computes from the parameters and buffers of a module alone, without gradients.

    It is computed at the first step of a state, and again when one of them was replaced or changed in place.
    What torch does not count as a change (in place through `Tensor.data`) is seen by every state that is made
    later. Gradients, compiled code, `torch.func`, and parameters that are more than tensors have it computed
    at every step.

    Args:
        state: what a step advances.
        module: one without parts.
        make: the computation.
    """
    tensors = [t for own in (module._parameters, module._buffers) for t in own.values() if t is not None]
    if torch.compiler.is_compiling() or torch.is_grad_enabled() or transformed():
        return make()
    if module._modules or any(type(t) not in PLAIN or t.is_inference() for t in tensors):
        return make()
    marks = [(t.data_ptr(), t._version) for t in tensors]
    kept: _Kept | None = vars(state).get(_PLACE)
    if kept is None or kept.marks != marks or any(map(operator.is_not, kept.tensors, tensors)):
        kept = _Kept(tensors, marks, make())
        vars(state)[_PLACE] = kept
    made: T = kept.made
    return made
