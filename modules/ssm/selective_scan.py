"""The recurrence of matrices behind selective state space models, in matrix products."""

import torch
import torch.nn.functional as F
from torch import Tensor

from sma.modules.functional import in_chunks
from sma.modules.ssm.scan import scan

CHUNK = 64  # elements


def selective_scan(
    x: Tensor, log_decay: Tensor, write: Tensor, read: Tensor, initial: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    r"""A recurrence of matrices whose decays depend on the element, in matrix products.

    $$ h_t = \exp(\text{log\_decay}_t)\, h_{t-1} + x_t \text{write}_t^\top, \quad y_t = h_t\, \text{read}_t $$

    for every head. Inside a chunk of C elements this is masked attention with decaying weights, between
    chunks the state travels by a scan (https://arxiv.org/abs/2405.21060, Section 6); time and memory are
    linear in L.

    Args:
        x: `(B, L, H, P)`.
        log_decay: `(B, L, H)`, at most 0. Where it is 0 and x is 0, the state stays as it is.
        write: `(B, L, S)`, shared by the heads.
        read: `(B, L, S)`, shared by the heads.
        initial: `(B, H, P, S)`, the state before the first element; None: zero.

    Returns:
        y `(B, L, H, P)`, and the state after the last element `(B, H, P, S)`.
    """
    n_rows, length, n_heads, d_head = x.shape
    d_state = write.shape[-1]
    size = chunk_size(length)
    x, log_decay, write, read = (in_chunks(part, size) for part in (x, log_decay, write, read))
    x, write, read = x.transpose(2, 3), write.unsqueeze(2), read.unsqueeze(2)  # (B, G, H, C, .)
    elapsed = log_decay.transpose(2, 3).cumsum(-1)  # (B, G, H, C), from before the chunk to each element
    total = elapsed[..., -1:]

    between = elapsed.unsqueeze(-1) - elapsed.unsqueeze(-2)
    later = torch.ones(size, size, dtype=torch.bool, device=x.device).triu(1)
    y = (read @ write.mT * between.masked_fill(later, -torch.inf).exp()) @ x

    sums = (x * (total - elapsed).exp().unsqueeze(-1)).mT @ write
    start = sums.new_zeros(n_rows, 1, n_heads, d_head, d_state) if initial is None else initial.unsqueeze(1)
    states = torch.cat((start, sums), 1).flatten(-2).transpose(1, 2)  # (B, H, 1 + G, P * S)
    states = scan(states, F.pad(total, (0, 0, 0, 0, 1, 0)).transpose(1, 2))
    before = torch.unflatten(states[:, :, :-1].transpose(1, 2), -1, (d_head, d_state))
    y = y + elapsed.exp().unsqueeze(-1) * (read @ before.mT)

    y = y.transpose(2, 3).flatten(1, 2)[:, :length]
    return y, torch.unflatten(states[:, :, -1], -1, (d_head, d_state))


def chunk_size(length: int) -> int:
    """Of a row of `length` elements."""
    return max(1, min(CHUNK, length))
