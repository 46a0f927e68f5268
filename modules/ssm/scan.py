"""All prefixes of a linear recurrence at once."""

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
    after_odd = scan(torch.addcmul(odd, decay_odd.exp(), even), decay_even + decay_odd)
    after_even = torch.addcmul(even, decay_even.exp(), shift(after_odd, 1))
    return torch.stack((after_even, after_odd), -2).flatten(-3, -2)[..., :n, :]


def shift(x: Tensor, by: int) -> Tensor:
    """Move `x (..., G, S)` by `by` places along G, zeros coming in."""
    return F.pad(x, (0, 0, by, -by)) if by else x
