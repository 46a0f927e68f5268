"""The recurrence of matrices on the CPU: some chunks at a time, in a workspace that fits a core's cache.

Element-wise operations on the decays between all elements of a chunk, C times as many as elements, would else
take longer than the matrix products. The backward pass computes them again from the chunks' initial states.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from sma.modules.functional import in_chunks

_WORKSPACE = 2**18  # numbers: decays between elements of the chunks that are computed together


def tiled_scan(
    size: int, x: Tensor, log_decay: Tensor, write: Tensor, read: Tensor, initial: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """`selective_scan` in chunks of `size` elements.

    Returns:
        y and the last state, as there; and the states before the chunks, `(B, G, H, P, S)`.
    """
    parts = _Parts(size, x, log_decay, write, read)
    before = x.new_empty(parts.n_rows * parts.n_chunks, parts.n_heads * parts.d_head, write.shape[-1])
    for tile in parts.tiles():
        torch.bmm(parts.fading(tile).mT, parts.write[tile], out=before[tile])
    states = before.view(parts.n_rows, parts.n_chunks, parts.n_heads, parts.d_head, write.shape[-1])
    last = states.new_zeros(states[:, 0].shape) if initial is None else initial
    for g, decay in enumerate(parts.total.exp().view(*states.shape[:3], 1, 1).unbind(1)):
        after = torch.addcmul(states[:, g], last, decay)
        states[:, g] = last
        last = after
    y = torch.empty_like(parts.x)
    for tile in parts.tiles():
        seen = torch.bmm(parts.read[tile], before[tile].mT)
        torch.mul(parts.by_head(seen), parts.elapsed[tile].exp().unsqueeze(-1), out=y[tile])
        weights = parts.decays(tile).mul_(parts.products(tile).unsqueeze(1))
        inside = torch.bmm(weights.flatten(0, 1), parts.heads_first(parts.x[tile]))
        y[tile] += inside.view(-1, *parts.shape_heads_first).transpose(1, 2)
    return parts.as_rows(y)[:, : x.shape[1]], last, states


def tiled_scan_backward(
    size: int, grads: tuple[Tensor, ...], returned: tuple[Tensor, ...], tensors: tuple[Any, ...]
) -> tuple[Tensor | None, ...]:
    """The gradients of the tensors that `tiled_scan` takes, from those of its results."""
    (grad_y, grad_last), before, (x, log_decay, write, read, initial) = grads, returned[2], tensors
    parts = _Parts(size, x, log_decay, write, read)
    grad_y = in_chunks(grad_y, size).flatten(0, 1)
    states = before.flatten(0, 1).flatten(1, 2)
    grad_sums = torch.empty_like(states)  # of what each chunk adds to the state
    for tile in parts.tiles():
        scaled = parts.scaled(grad_y[tile], parts.elapsed[tile].exp())
        torch.bmm(scaled.mT, parts.read[tile], out=grad_sums[tile])
    grad_states, grad_state = grad_sums.view_as(before), grad_last
    decay = parts.total.exp()
    for g, each in reversed(list(enumerate(decay.view(*before.shape[:3], 1, 1).unbind(1)))):
        earlier = torch.addcmul(grad_states[:, g], grad_state, each)
        grad_states[:, g] = grad_state
        grad_state = earlier

    found = tuple(torch.empty_like(z) for z in (parts.x, parts.elapsed, parts.write, parts.read))
    for tile in parts.tiles():
        _backward_of_tile(parts, tile, grad_y[tile], states[tile], grad_sums[tile], decay[tile], found)
    grad_x, grad_decay, grad_write, grad_read = (parts.as_rows(z)[:, : x.shape[1]] for z in found)
    return grad_x, grad_decay, grad_write, grad_read, None if initial is None else grad_state


def _backward_of_tile(
    parts: "_Parts",
    tile: slice,
    grad_y: Tensor,
    before: Tensor,
    grad_sums: Tensor,
    decay: Tensor,
    grads: tuple[Tensor, ...],
) -> None:
    """Write the gradients of a tile's elements to their places in `grads`."""
    grad_x, grad_decay, grad_write, grad_read = (z[tile] for z in grads)
    x, write, read = parts.x[tile], parts.write[tile], parts.read[tile]

    # inside chunks
    products, weights = parts.products(tile), parts.decays(tile)
    x_heads, grad_heads = parts.heads_first(x), parts.heads_first(grad_y)
    grad_weights = torch.bmm(grad_heads, x_heads.mT).view_as(weights).mul_(weights)
    grad_products = grad_weights.sum(1).tril_()
    weights *= products.unsqueeze(1)
    of_x = torch.bmm(weights.flatten(0, 1).mT, grad_heads).view(-1, *parts.shape_heads_first)
    grad_weights *= products.unsqueeze(1)
    grad_elapsed = (grad_weights.sum(-1) - grad_weights.sum(-2)).transpose(1, 2)
    torch.bmm(grad_products, write, out=grad_read)
    torch.bmm(grad_products.mT, read, out=grad_write)

    # from the state before each chunk, and to the one behind it
    scaled = parts.scaled(grad_y, parts.elapsed[tile].exp())
    grad_read.baddbmm_(scaled, before)
    grad_elapsed = grad_elapsed + parts.by_head(scaled.mul_(torch.bmm(read, before.mT))).sum(-1)
    added, seen = parts.fading(tile), torch.bmm(write, grad_sums.mT)
    grad_write.baddbmm_(added, grad_sums)
    torch.addcmul(of_x.transpose(1, 2), parts.by_head(seen), parts.remaining(tile).unsqueeze(-1), out=grad_x)
    of_remaining = parts.by_head(added.mul_(seen)).sum(-1)
    grad_elapsed -= of_remaining
    of_decay = parts.by_head_of_state(before * grad_sums).sum(-1).mul_(decay)
    grad_elapsed[:, -1] += of_remaining.sum(1) + of_decay
    grad_decay.copy_(grad_elapsed.flip(1).cumsum(1).flip(1))


class _Parts:
    """The tensors in chunks: (N, C, ...) with the chunks of all rows one after another."""

    def __init__(self, size: int, x: Tensor, log_decay: Tensor, write: Tensor, read: Tensor) -> None:
        chunks = in_chunks(x, size)
        self.n_rows, self.n_chunks, self.size, self.n_heads, self.d_head = chunks.shape
        self.x = chunks.flatten(0, 1)
        log_decay, self.write, self.read = (
            in_chunks(z, size).flatten(0, 1) for z in (log_decay, write, read)
        )
        self.elapsed = log_decay.cumsum(1)  # (N, C, H), from before the chunk to each element
        self.total = self.elapsed[:, -1]
        self.shape_heads_first = (self.n_heads, self.size, self.d_head)

    def as_rows(self, x: Tensor) -> Tensor:
        """`(N, C, ...)` -> `(B, G C, ...)`."""
        return x.view(self.n_rows, self.n_chunks * self.size, *x.shape[2:])

    def tiles(self) -> Iterator[slice]:
        """The chunks, as many at a time as the workspace takes."""
        step = max(1, _WORKSPACE // (self.n_heads * self.size**2))
        return (slice(n, n + step) for n in range(0, len(self.x), step))

    def decays(self, tile: slice) -> Tensor:
        """`(n, H, C, C)`: from every element to every one that is not before it, and 1 to the others."""
        elapsed = self.elapsed[tile].transpose(1, 2)
        return (elapsed.unsqueeze(-1) - elapsed.unsqueeze(-2)).clamp_(max=0).exp_()

    def products(self, tile: slice) -> Tensor:
        """`(n, C, C)`: what an element reads of those that are not after it."""
        return torch.bmm(self.read[tile], self.write[tile].mT).tril_()

    def remaining(self, tile: slice) -> Tensor:
        """`(n, C, H)`: the decay from every element to the end of its chunk."""
        return (self.total[tile].unsqueeze(1) - self.elapsed[tile]).exp_()

    def fading(self, tile: slice) -> Tensor:
        """`(n, C, H P)`: every x, decayed to the end of its chunk."""
        return self.scaled(self.x[tile], self.remaining(tile))

    def scaled(self, x: Tensor, factor: Tensor) -> Tensor:
        """`x (n, C, H, P)` times `factor (n, C, H)`, as `(n, C, H P)`."""
        return (x * factor.unsqueeze(-1)).flatten(2)

    def heads_first(self, x: Tensor) -> Tensor:
        """`(n, C, H, P)` -> `(n H, C, P)`."""
        return x.transpose(1, 2).flatten(0, 1)

    def by_head(self, x: Tensor) -> Tensor:
        """`(n, C, H P)` -> `(n, C, H, P)`."""
        return x.view(*x.shape[:2], self.n_heads, self.d_head)

    def by_head_of_state(self, x: Tensor) -> Tensor:
        """`(n, H P, S)` -> `(n, H, P S)`."""
        return x.view(len(x), self.n_heads, self.d_head * x.shape[2])
