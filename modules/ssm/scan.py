"""All prefixes of a linear recurrence at once."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def scan(states: Tensor, log_decay: Tensor) -> Tensor:
    r"""All prefixes of a linear recurrence, $h_g = \exp(\text{log\_decay}_g)\, h_{g-1} + \text{states}_g$.

    Neighbours are joined to pairs, the pairs are scanned by recursion, and the prefixes that end inside a
    pair follow: O(G) work in O(log G) operations.

    Args:
        states: `(..., G, S)`.
        log_decay: broadcastable to `states`; where its G is 1, the decay is the same everywhere.

    Returns:
        `(..., G, S)`, the h.
    """
    if torch.compiler.is_compiling():  # one operation, whose recursion depends on no length
        y: Tensor = _scan_op(states, log_decay)
        return y
    return _scan(states, log_decay)


def _scan(states: Tensor, log_decay: Tensor) -> Tensor:
    n = states.shape[-2]
    if n <= 1:
        return states
    constant = log_decay.shape[-2] == 1
    if n % 2:
        states = F.pad(states, (0, 0, 0, 1))
        log_decay = log_decay if constant else F.pad(log_decay, (0, 0, 0, 1))
    even, odd = torch.unflatten(states, -2, (states.shape[-2] // 2, 2)).unbind(-2)
    pairs = log_decay.expand(*log_decay.shape[:-2], 2, -1) if constant else log_decay
    decay_even, decay_odd = torch.unflatten(pairs, -2, (pairs.shape[-2] // 2, 2)).unbind(-2)
    after_odd = _scan(torch.addcmul(odd, decay_odd.exp(), even), decay_even + decay_odd)
    after_even = torch.addcmul(even, decay_even.exp(), shift(after_odd, 1))
    return torch.stack((after_even, after_odd), -2).flatten(-3, -2)[..., :n, :]


def shift(x: Tensor, by: int) -> Tensor:
    """Move `x (..., G, S)` by `by` places along G, zeros coming in."""
    return F.pad(x, (0, 0, by, -by)) if by else x


@torch.library.custom_op("sma::scan", mutates_args=(), schema="(Tensor states, Tensor log_decay) -> Tensor")
def _scan_op(states: Tensor, log_decay: Tensor) -> Tensor:
    return _scan(states, log_decay).clone(memory_format=torch.contiguous_format)


@torch.library.custom_op(
    "sma::scan_backward",
    mutates_args=(),
    schema="(Tensor grad, Tensor log_decay, Tensor result) -> (Tensor, Tensor)",
)
def _scan_backward_op(grad: Tensor, log_decay: Tensor, result: Tensor) -> tuple[Tensor, Tensor]:
    r"""From the last to the first: $d_g = \text{grad}_g + \overline{a_{g+1}}\, d_{g+1}$ for the states."""
    decay = log_decay.conj_physical()
    if decay.shape[-2] > 1:  # what leads from an element to the one before it is the decay of the later one
        decay = F.pad(decay.flip(-2)[..., :-1, :], (0, 0, 1, 0))
    of_states = _scan(grad.flip(-2), decay).flip(-2)
    of_decay = of_states * (log_decay.exp() * shift(result, 1)).conj_physical()
    return of_states.contiguous(), of_decay.sum_to_size(log_decay.shape).contiguous()


@_scan_op.register_fake
def _(states: Tensor, log_decay: Tensor) -> Tensor:
    return states.new_empty(states.shape)


@_scan_backward_op.register_fake
def _(grad: Tensor, log_decay: Tensor, result: Tensor) -> tuple[Tensor, Tensor]:
    return grad.new_empty(grad.shape), log_decay.new_empty(log_decay.shape)


def _setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
    ctx.save_for_backward(inputs[1], output)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
    of_states, of_decay = _scan_backward_op(grad, *ctx.saved_tensors)
    return of_states, of_decay


_scan_op.register_autograd(_backward, setup_context=_setup_context)
