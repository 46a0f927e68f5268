"""Tiles: a flat list of elements cut into blocks of queries and the stretches of keys that they see."""

from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional as F

from sma.modules.functional import transformed

_BLOCK = 64  # queries per block; the fastest of 32, 64 and 128 on CPU
_WORKSPACE = {"cpu": 2**19}  # scores of a tile, by device: 2 MB, a core's second-level cache
_WORKSPACE_ELSEWHERE = 2**25


@dataclass(frozen=True)
class Tile:
    """A group of blocks that are computed together.

    Block i holds the `block` queries from slot `start + i * block` on, and sees the `n_keys` keys from slot
    `first_key + i * block` on. Slots may lie outside the list; they are padding then.
    `one_row`: all are known to lie in one row. `ahead`: the last `block` keys of a block are in none before.
    """

    start: int
    n_blocks: int
    block: int
    first_key: int
    n_keys: int
    one_row: bool = False
    ahead: bool = False

    @property
    def stop(self) -> int:
        """The slot behind the last query."""
        return self.start + self.n_blocks * self.block

    @property
    def last_key(self) -> int:
        """The slot behind the last key."""
        return self.first_key + (self.n_blocks - 1) * self.block + self.n_keys

    def queries(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        """(T, d) -> (n_blocks, block, d)."""
        return _slots(x, self.start, self.stop, 0).to(dtype).view(self.n_blocks, self.block, -1)

    def keys(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        """(T, d) -> (n_blocks, n_keys, d), blocks overlapping in memory."""
        inside = _slots(x, self.first_key, self.last_key, 0).to(dtype)
        return inside.unfold(0, self.n_keys, self.block).mT

    def offsets(self, x: Tensor) -> Tensor:
        """x of the key minus x of the query: (T,) -> (n_blocks, block, n_keys)."""
        return self._differences(
            _slots(x, self.first_key, self.last_key, -1), _slots(x, self.start, self.stop, -1)
        )

    def run_offsets(self, run: Tensor, dtype: torch.dtype) -> Tensor:
        """The same for `run (T,)`, as floats: exact, since runs are counted from the tile's first slot."""
        first = run[max(self.first_key, 0)]
        keys, queries = (
            (_slots(run, start, stop, -1) - first).to(dtype)
            for start, stop in ((self.first_key, self.last_key), (self.start, self.stop))
        )
        return self._differences(keys, queries)

    def _differences(self, keys: Tensor, queries: Tensor) -> Tensor:
        return keys.unfold(0, self.n_keys, self.block).unsqueeze(1) - queries.view(self.n_blocks, -1, 1)

    @property
    def shape(self) -> tuple[int, int, int]:
        """What ranks depend on: tiles of one shape have equal `rank_offsets`."""
        return self.block, self.n_keys, self.first_key - self.start

    def rank_offsets(self, device: torch.device) -> Tensor:
        """The same for ranks, equal in all blocks: (block, n_keys)."""
        query = torch.arange(self.block, dtype=torch.int32, device=device)
        first = self.first_key - self.start
        key = torch.arange(first, first + self.n_keys, dtype=torch.int32, device=device)
        return key - query.unsqueeze(1)


def window_tiles(row: Tensor, window: int, *, bidirectional: bool) -> list[Tile]:
    """Blocks over all slots in `row (T,)`, each with a window's width of keys before it, and after."""
    n_slots = len(row)
    window = min(window, max(n_slots - 1, 1))
    n_halo = -(-window // _BLOCK)
    block = 16 * -(-window // (16 * n_halo))  # so that n_halo whole blocks are hardly more than a window
    halo = n_halo * block
    n_keys = block + halo * (2 if bidirectional else 1)
    n_blocks = -(-n_slots // block)
    group = max(1, _workspace(row.device) // (block * n_keys))
    tiles = [
        Tile(b * block, min(group, n_blocks - b), block, b * block - halo, n_keys, ahead=True)
        for b in range(0, n_blocks, group)
    ]
    inside = _in_one_row(tiles, row)
    return [replace(tile, one_row=one_row) for tile, one_row in zip(tiles, inside, strict=True)]


def _in_one_row(tiles: list[Tile], row: Tensor) -> list[bool]:
    """Which tiles lie inside one row. A device is not asked: it would wait."""
    if row.device.type != "cpu" or transformed():
        return [False] * len(tiles)
    ends = torch.tensor([(tile.first_key, tile.last_key - 1) for tile in tiles], dtype=torch.long).view(-1, 2)
    inside = (ends[:, 0] >= 0) & (ends[:, 1] < len(row))
    first, last = row[ends.clamp(0, len(row) - 1)].unbind(1)
    return (inside & (first == last) & (first >= 0)).tolist()


def row_tiles(ptr: Tensor, *, bidirectional: bool) -> list[Tile]:
    """Row by row, `ptr[b]:ptr[b + 1]`, some queries at a time against all keys that they may see."""
    tiles = []
    for start, stop in pairwise(ptr.tolist()):
        block = max(_BLOCK, _workspace(ptr.device) // max(stop - start, 1))
        for first in range(start, stop, block):
            last = min(first + block, stop)
            tiles.append(Tile(first, 1, last - first, start, (stop if bidirectional else last) - start))
    return tiles


def _slots(x: Tensor, start: int, stop: int, fill: int) -> Tensor:
    """x[start:stop] of a list that goes on with `fill` beyond both ends."""
    inside = x[max(start, 0) : max(stop, 0)]
    if len(inside) == stop - start:
        return inside
    before = min(max(-start, 0), stop - start)
    sides = (before, stop - start - before - len(inside))
    return F.pad(inside, (0, 0) * (x.dim() - 1) + sides, value=fill)


def _workspace(device: torch.device) -> int:
    return _WORKSPACE.get(device.type, _WORKSPACE_ELSEWHERE)
