"""Attention in tiles: batched products of blocks of a flat list, in a workspace of bounded size.

The list is cut into blocks of queries, and the keys of a block are one stretch of the list around it. A tile
is a group of blocks whose scores one batched product computes. The backward pass computes them again instead
of keeping them, so that memory is linear in the length of the list, whatever the window.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from sma.modules.attention.functions import AttentionFunction, AttentionRule
from sma.modules.attention.positions import OffsetBias
from sma.modules.attention.tiles import Tile, row_tiles, window_tiles
from sma.modules.functional import transformed, without_autocast

_FAR = -1e30  # times a squared difference of runs: every attention function gives it weight 0, as -inf


@dataclass(frozen=True)
class Lists:
    """The facts about every slot that attention needs, and its random numbers.

    Attributes:
        row: `(T,)` long; -1 in padding slots, which neighbours among them alone see.
        position: `(T,)` long.
        ptr: `(B + 1,)` long; row b owns the slots `ptr[b]:ptr[b + 1]`.
        bias: added to scores; None: nothing.
        seed: of the dropout; None without.
    """

    row: Tensor
    position: Tensor
    ptr: Tensor
    bias: OffsetBias | None
    seed: Tensor | None


@dataclass(frozen=True)
class Plan:
    """All of attention but q, k and v.

    Attributes:
        tiles: in order; every slot is a query in exactly one of them.
        run: `(T,)` long; counts the changes of row before each slot. Slots of one run see each other.
        position: `(T,)` integers.
        dtype: what everything is computed in.
        back: by how many ranks a key may come before its query.
        ahead: and after it.
        function: from scores to weights.
        scale: of the products of queries and keys.
        bias: added to scores.
        dropout: of weights.
        seed: of the dropout.
    """

    tiles: list[Tile]
    run: Tensor
    position: Tensor
    dtype: torch.dtype
    back: int
    ahead: int
    function: AttentionFunction
    scale: float
    bias: OffsetBias | None
    dropout: float
    seed: int

    @classmethod
    def of(cls, lists: Lists, rule: AttentionRule, q: Tensor) -> "Plan":
        """The plan of a rule for some lists, computing in the dtype of `q (T, d_qk)`."""
        row, position, reach = lists.row, lists.position, rule.window
        if reach is None:
            tiles, reach = row_tiles(lists.ptr, bidirectional=rule.bidirectional), len(row)
        else:
            tiles = window_tiles(row, reach, bidirectional=rule.bidirectional)
        bias = lists.bias
        if bias is not None and not bias.by_rank and _advances_with_rank(row, position):
            bias = replace(bias, by_rank=True)  # one small table serves all tiles
        return cls(
            tiles=tiles,
            run=row.diff(prepend=row[:1]).ne(0).cumsum(0),
            position=position if bias is None or bias.by_rank else _narrow(position),
            dtype=q.dtype,
            back=reach,
            ahead=reach if rule.bidirectional else 0,
            function=rule.function,
            scale=1 / (rule.divisor(q.shape[1]) or 1),
            bias=bias,
            dropout=rule.dropout,
            seed=0 if lists.seed is None else int(lists.seed),
        )

    @property
    def before(self) -> int:
        """How far tiles reach beyond the start of the list."""
        return -self.tiles[0].first_key if self.tiles else 0

    def buffer(self, width: int) -> Tensor:
        """A row of `width` for every slot that tiles reach, undefined."""
        n_slots = self.before + (self.tiles[-1].last_key if self.tiles else 0)
        return torch.empty(n_slots, width, dtype=self.dtype, device=self.run.device)

    def sums(self, width: int) -> Tensor:
        """The same, 0 where `_accumulate` does not begin with a tile that is `ahead`."""
        total = self.buffer(width)
        ahead = bool(self.tiles) and self.tiles[0].ahead
        total[: self.tiles[0].n_keys - self.tiles[0].block if ahead else None] = 0
        return total

    def steps(self) -> Iterator[tuple[Tile, Tensor, Tensor | None]]:
        """Every tile, what `scores` adds in all its blocks, and its `bias_index`; made once where equal."""
        shape = None
        for tile in self.tiles:
            same, shape = tile.shape == shape, tile.shape
            if not same or (self.bias is not None and not self.bias.by_rank):
                index = self.bias_index(tile)
            if not same:
                base = self._base(tile, index)
            yield tile, base, index

    def bias_index(self, tile: Tile) -> Tensor | None:
        """The entries of the bias table: (block, n_keys) by rank, (n_blocks, block, n_keys) by position."""
        if self.bias is None:
            return None
        offset = tile.rank_offsets(self.run.device) if self.bias.by_rank else tile.offsets(self.position)
        return self.bias.index(offset)

    def _base(self, tile: Tile, index: Tensor | None) -> Tensor:
        """(block, n_keys): -inf where ranks say that there is no key, otherwise the bias by rank."""
        rank = tile.rank_offsets(self.run.device)
        base = torch.zeros(rank.shape, dtype=self.dtype, device=rank.device)
        base.masked_fill_((rank < -self.back) | (rank > self.ahead), -math.inf)
        return base if index is None or index.dim() == 3 else base + self._bias_at(index)

    def scores(self, tile: Tile, base: Tensor, index: Tensor | None, queries: Tensor, keys: Tensor) -> Tensor:
        """Scores (n_blocks, block, n_keys), so low that weights are exactly 0 where there is no key."""
        if tile.one_row:
            scores = torch.baddbmm(base, queries, keys.mT, alpha=self.scale)
        else:
            between = tile.run_offsets(self.run, self.dtype)  # 0 within a row: masks others in one operation
            scores = torch.addcmul(base, between, between, value=_FAR, out=between)
            scores.baddbmm_(queries, keys.mT, alpha=self.scale)
        return scores if index is None or index.dim() == 2 else scores.add_(self._bias_at(index))

    def plain_scores(self, tile: Tile, queries: Tensor, keys: Tensor, index: Tensor | None) -> Tensor:
        """The same from operations that change nothing in place; finite, for derivatives of any order."""
        rank = tile.rank_offsets(self.run.device)
        hidden = (rank < -self.back) | (rank > self.ahead) | (tile.run_offsets(self.run, self.dtype) != 0)
        scores = torch.bmm(queries * self.scale, keys.mT)
        return (scores if index is None else scores + self._bias_at(index)).masked_fill(hidden, _FAR)

    def _bias_at(self, index: Tensor) -> Tensor:
        assert self.bias is not None
        return self.bias.values.to(self.dtype).index_select(0, index.flatten()).view(index.shape)

    def kept(self, tile: Tile, weights: Tensor) -> Tensor | None:
        """The factors of dropout, the same at every call for the same tile; None without dropout."""
        if not self.dropout:
            return None
        generator = torch.Generator(weights.device).manual_seed(self.seed + tile.start)
        kept = torch.empty_like(weights).bernoulli_(1 - self.dropout, generator=generator)
        return kept.div_(1 - self.dropout)


def tiled_attention(q: Tensor, k: Tensor, v: Tensor, lists: Lists, rule: AttentionRule) -> Tensor:
    """weights(q k^T / c + bias) v, tile by tile. The bias table gets its gradient, too.

    Args:
        q: `(T, d_qk)`, in the dtype to compute in; divided where `rule.divisor` is None.
        k: `(T, d_qk)`.
        v: `(T, d_v)`.
        lists: of the T slots, and the bias.
        rule: everything else.

    Returns:
        `(T, d_v)` in the dtype of `v`.
    """
    with without_autocast(q.device):
        if transformed():
            return attend_plainly(q, k, v, lists, rule)
        table = None if lists.bias is None else lists.bias.values
        y: Tensor = _TiledAttention.apply(q, k, v, table, lists, rule)  # type: ignore[no-untyped-call]
    return y


def attend(q: Tensor, k: Tensor, v: Tensor, lists: Lists, rule: AttentionRule) -> Tensor:
    """The forward pass of `tiled_attention`, which autocast must not touch."""
    plan = Plan.of(lists, rule, q)
    y = plan.buffer(v.shape[1])[plan.before :]
    for tile, base, index in plan.steps():
        queries, keys = tile.queries(q, plan.dtype), tile.keys(k, plan.dtype)
        scores = plan.scores(tile, base, index, queries, keys)
        weights = plan.function.weights(scores)
        kept = plan.kept(tile, weights)
        values, into = tile.keys(v, plan.dtype), tile.queries(y, plan.dtype)
        torch.bmm(weights if kept is None else weights * kept, values, out=into)
    return y[: len(q)].to(v.dtype)


def attend_plainly(q: Tensor, k: Tensor, v: Tensor, lists: Lists, rule: AttentionRule) -> Tensor:
    """The same from operations that torch differentiates itself, to any order, in more memory."""
    plan, parts = Plan.of(lists, rule, q), [v[:0].to(q.dtype)]
    for tile in plan.tiles:
        queries, keys = tile.queries(q, plan.dtype), tile.keys(k, plan.dtype)
        weights = plan.function.weights(plan.plain_scores(tile, queries, keys, plan.bias_index(tile)))
        kept = plan.kept(tile, weights)
        weights = weights if kept is None else weights * kept
        parts.append(torch.bmm(weights, tile.keys(v, plan.dtype)).flatten(0, 1))
    return torch.cat(parts)[: len(q)].to(v.dtype)


def attend_backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, lists: Lists, rule: AttentionRule
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The gradients of q, k, v and of the bias table (empty without one), from weights computed again."""
    plan = Plan.of(lists, rule, q)
    grad_q = plan.buffer(q.shape[1])[plan.before :]
    grad_k, grad_v = (plan.sums(x.shape[1]) for x in (k, v))
    grad_table = q.new_zeros(0 if plan.bias is None else len(plan.bias.values))
    for tile, base, index in plan.steps():
        queries, keys = tile.queries(q, plan.dtype), tile.keys(k, plan.dtype)
        values, grads = tile.keys(v, plan.dtype), tile.queries(grad, plan.dtype)
        scores = plan.scores(tile, base, index, queries, keys)
        weights = plan.function.weights(scores)
        kept, grad_weights = plan.kept(tile, weights), torch.bmm(grads, values.mT)
        if kept is not None:
            grad_weights *= kept
        grad_scores = plan.function.backward(scores, weights, grad_weights)
        tile.queries(grad_q, plan.dtype).baddbmm_(grad_scores, keys, beta=0, alpha=plan.scale)
        _accumulate(grad_k[plan.before + tile.first_key :], tile, grad_scores, queries, plan.scale)
        weights = weights if kept is None else weights * kept
        _accumulate(grad_v[plan.before + tile.first_key :], tile, weights, grads, 1)
        if index is not None:
            per_entry = grad_scores.sum(0) if index.dim() == 2 else grad_scores
            grad_table.scatter_add_(0, index.flatten().long(), per_entry.flatten())
    grad_k, grad_v = (x[plan.before :][: len(q)] for x in (grad_k, grad_v))
    return grad_q[: len(q)], grad_k.to(k.dtype), grad_v.to(v.dtype), grad_table


class _TiledAttention(torch.autograd.Function):
    """The bias table is an argument of its own, as only arguments get gradients."""

    @staticmethod
    @override
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, table: Tensor | None, lists: Lists, rule: AttentionRule
    ) -> Tensor:
        """Attend."""
        ctx.save_for_backward(q, k, v, table)
        bias = None if lists.bias is None else replace(lists.bias, values=q.new_empty(0))
        ctx.lists, ctx.rule = replace(lists, bias=bias), rule  # the table is saved, as tensors are
        return attend(q, k, v, lists, rule)

    @staticmethod
    @override
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients; where they shall be differentiated again, those of `attend_plainly`."""
        q, k, v, table = ctx.saved_tensors
        lists = ctx.lists if table is None else replace(ctx.lists, bias=replace(ctx.lists.bias, values=table))
        with without_autocast(q.device):
            if torch.is_grad_enabled() or transformed() or torch._C._functorch.is_legacy_batchedtensor(grad):
                return *_plain_gradients(grad, q, k, v, lists, ctx.rule), None, None
            *grads, grad_table = attend_backward(grad, q, k, v, lists, ctx.rule)
        return *grads, None if table is None else grad_table.to(table.dtype), None, None


def _plain_gradients(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, lists: Lists, rule: AttentionRule
) -> list[Tensor | None]:
    """The gradients of q, k, v and the bias table, each by itself: one may have been made from another."""
    with torch.enable_grad():
        q, k, v = (x.view_as(x) for x in (q, k, v))
        bias = lists.bias
        if bias is not None:
            lists = replace(lists, bias=(bias := replace(bias, values=bias.values.view_as(bias.values))))
        own = (q, k, v, None if bias is None else bias.values)
        taken = [x for x in own if x is not None and x.requires_grad]
        y = attend_plainly(q, k, v, lists, rule)
        grads = iter(torch.autograd.grad(y, taken, grad, create_graph=True, materialize_grads=True))
    return [next(grads) if x is not None and x.requires_grad else None for x in own]


def _narrow(position: Tensor) -> Tensor:
    """As int32 where offsets fit, which is faster. A device is not asked: it would wait."""
    if position.device.type != "cpu" or transformed() or not len(position):
        return position
    low, high = position.aminmax()
    return position.int() if int(high - low) < 2**30 else position


def _advances_with_rank(row: Tensor, position: Tensor) -> bool:
    """Whether positions and ranks differ by a constant in each row. A device is not asked: it would wait."""
    if row.device.type != "cpu" or transformed():
        return False
    one_on = position[1:] == position[:-1] + 1
    return bool((one_on | (row[1:] != row[:-1]) | (row[1:] < 0)).all())


def _accumulate(total: Tensor, tile: Tile, left: Tensor, right: Tensor, scale: float) -> None:
    """total[the keys of block i] += scale left[i]^T right[i], in strips in which blocks do not overlap.

    The last strip of a tile that is `ahead` is written, whatever was there.
    """
    step = tile.block if tile.ahead else tile.n_keys
    for j in reversed(range(0, tile.n_keys, step)):
        strip = total[j : j + tile.n_blocks * step].view(tile.n_blocks, step, -1)
        written = tile.ahead and j + step == tile.n_keys
        strip.baddbmm_(left[..., j : j + step].mT, right, beta=0 if written else 1, alpha=scale)
