"""The working memory: what windowed attention remembers between decoding steps."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from sma.elements import Elements, take_rows
from sma.modules.attention.functions import AttentionRule
from sma.modules.attention.plain import query_divisor
from sma.modules.attention.positions import OffsetBias
from sma.modules.attention.windowed import attend_windows
from sma.modules.functional import at_least_float32, first_parameter
from sma.modules.kernels.attention_op import FUNCTIONS
from sma.modules.kernels.choice import takes_kernel
from sma.modules.kernels.memory_op import memory_step
from sma.state import State, check_state


@dataclass(frozen=True)
class WorkingMemory(State):
    """The last W + 1 activated elements of every row, in ring buffers.

    The element of rank r (the r-th that activated in its row) is in slot `r % (W + 1)`.

    Attributes:
        keys: `(B, W + 1, d_qk)`, rotated; `(B, W + 1, H, d_qk)` for H heads.
        values: `(B, W + 1, d_v)` or `(B, W + 1, H, d_v)`.
        position: `(B, W + 1)` long; original positions.
        count: `(B,)` long; how many elements each row has activated so far.
    """

    keys: Tensor
    values: Tensor
    position: Tensor
    count: Tensor

    @classmethod
    def empty(
        cls,
        attention: Any,
        batch_size: int,
        key_shape: tuple[int, ...],
        value_shape: tuple[int, ...],
        *,
        device: torch.device | None,
        dtype: torch.dtype | None,
    ) -> "WorkingMemory":
        """The memory of rows that have not activated yet, as attention with these shapes of a key and a value
        needs it; by default on the device and in the dtype of its weights.

        Raises:
            NotImplementedError: if later elements count, or all earlier ones.
        """
        window, bidirectional = attention.window, attention.bidirectional
        if bidirectional or window is None:
            raise NotImplementedError(
                f"{type(attention).__name__} with {window=}, {bidirectional=} cannot decode step by step "
                "from a memory of constant size; build it with a window and bidirectional=False"
            )
        like = first_parameter(attention)
        device, dtype = device or like.device, dtype or like.dtype
        size = (batch_size, window + 1)
        return cls(
            torch.zeros(*size, *key_shape, device=device, dtype=dtype),
            torch.zeros(*size, *value_shape, device=device, dtype=dtype),
            torch.zeros(size, device=device, dtype=torch.long),
            torch.zeros(batch_size, device=device, dtype=torch.long),
        )

    def attend(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        elements: Elements,
        rule: AttentionRule,
        bias: OffsetBias | None,
    ) -> Tensor:
        """Attention of new elements to themselves and to the W before them, which are then remembered.

        Equals `windowed_attention` over everything so far, without dropout; arguments and result as there.
        Only rows with new elements advance. What is remembered is a constant to gradients.
        """
        rule = replace(rule, dropout=0.0) if rule.dropout else rule
        if elements.longest == 1 and not torch.is_grad_enabled():
            # asked first: compiled code does not know how many elements there are
            return self._attend_one_each(q, k, v, elements, rule, bias)
        if not len(q):
            return v
        attend = attend_windows if self._is_empty() else self._attend_with_memory
        y = attend(q, k, v, elements, rule, bias)
        self._remember(k, v, elements)
        return y

    def _is_empty(self) -> bool:
        """Whether certainly no row remembers anything; a GPU is not asked, and compiled code cannot ask."""
        asked = self.count.device.type == "cpu" and not torch.compiler.is_compiling()
        return asked and not bool(self.count.any())

    def _attend_one_each(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        elements: Elements,
        rule: AttentionRule,
        bias: OffsetBias | None,
    ) -> Tensor:
        """A decoding step: no row has more than one slot."""
        if takes_kernel("memory", q.device, lambda: _refusal(q, self.keys, rule)):
            return self._step(q, k, v, elements, rule, bias)
        size, owner = self.position.shape[1], elements.owner
        count = self.count.index_select(0, owner)  # a copy in any case
        self._write(torch.add(count % size, owner, alpha=size), k, v, elements)
        self._advance(count, elements)
        dtype = at_least_float32(q.dtype)
        keys = take_rows(self.keys, owner).movedim(1, -2).flatten(0, -3).to(dtype)
        queries = (q.to(dtype) / query_divisor(elements, q.shape[-1], rule)).flatten(0, -2).unsqueeze(1)
        # (T, 1, d_qk) @ (T, d_qk, W + 1), T * H in place of T for heads; its transpose is far slower
        scores = torch.bmm(queries, keys.mT).view(*q.shape[:-1], size)
        spread = (len(count), *[1] * (scores.dim() - 2), size)  # over the heads, if there are several
        slots, last = torch.arange(size, device=count.device), count.unsqueeze(1)
        if bias is not None:
            places = take_rows(self.position, owner) - elements.position.unsqueeze(1)
            offset = (slots - last) % -size if bias.by_rank else places
            scores = scores + bias(offset).to(dtype).view(spread)
        scores = scores.masked_fill((slots > last).view(spread), -torch.inf)  # nothing is there yet
        return self._weighted_values(rule.function.weights(scores), owner, slots).to(v.dtype)

    def _step(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        elements: Elements,
        rule: AttentionRule,
        bias: OffsetBias | None,
    ) -> Tensor:
        """The same by a kernel."""
        owner, name = elements.owner, rule.function.name
        divisor = query_divisor(elements, q.shape[-1], rule)
        assert name is not None  # or `_refusal` says so
        assert not isinstance(divisor, Tensor)  # there is a window
        heads = (x if x.dim() == 3 else x.unsqueeze(1) for x in (q, k, v))
        rings = (x if x.dim() == 4 else x.unsqueeze(2) for x in (self.keys, self.values))
        facts = (self.position, self.count, owner, elements.row, elements.position)
        table, first, by_rank = (None, 0, False) if bias is None else (bias.values, bias.first, bias.by_rank)
        y: Tensor = memory_step(*heads, *rings, *facts, table, first, by_rank, name, 1 / divisor)
        self._advance(self.count.index_select(0, owner), elements)
        return y.view(v.shape)

    def _advance(self, count: Tensor, elements: Elements) -> None:
        """Count one element more than `count (T,)` in every row that has one."""
        self.count.index_copy_(0, elements.owner, count + (1 if elements.packed else elements.valid))

    def _write(self, slot: Tensor, k: Tensor, v: Tensor, elements: Elements) -> None:
        """Put one element per row into its slot; where there is none, nothing changes."""
        for buffer, new in ((self.keys, k), (self.values, v), (self.position, elements.position)):
            flat, new = buffer.view(-1, *buffer.shape[2:]), new.to(buffer.dtype)
            if not elements.packed:
                keep = elements.valid.view(-1, *[1] * (new.dim() - 1))
                new = torch.where(keep, new, flat.index_select(0, slot))
            flat.index_copy_(0, slot, new)

    def _weighted_values(self, weights: Tensor, owner: Tensor, slots: Tensor) -> Tensor:
        """Sums of the values of row `owner (T,)` by `weights (T, W + 1)` or `(T, H, W + 1)`.

        The values are read where they are: copying those of the rows that activate takes longer than the sum.
        """
        table = self.values.view(-1, self.values.shape[-1]).to(weights.dtype)
        size = len(slots)
        place = torch.add(slots, owner.unsqueeze(1), alpha=size)
        if weights.dim() == 3:
            n_heads = weights.shape[1]
            place = place.unsqueeze(1) * n_heads + torch.arange(n_heads, device=owner.device).unsqueeze(1)
        starts = torch.arange(0, place.numel(), size, device=owner.device)
        y = torch.embedding_bag(table, place.view(-1), starts, per_sample_weights=weights.reshape(-1))[0]
        return y.view(len(owner), *self.values.shape[2:])

    def _attend_with_memory(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        elements: Elements,
        rule: AttentionRule,
        bias: OffsetBias | None,
    ) -> Tensor:
        """A chunk of a prompt: windowed attention over a list with each row's memory before its elements."""
        n_rows, size = self.position.shape
        window = size - 1
        rows = torch.arange(n_rows, device=q.device).unsqueeze(1)
        rank = self.count.unsqueeze(1) - window + torch.arange(window, device=q.device)
        old_slots = (
            elements.ptr[:-1].unsqueeze(1) + rows * window + torch.arange(window, device=q.device)
        ).flatten()
        new_slots = torch.arange(len(q), device=q.device) + (elements.owner + 1) * window

        def join(old: Tensor, new: Tensor) -> Tensor:
            joined = new.new_empty(len(old_slots) + len(new_slots), *new.shape[1:])
            return joined.index_copy_(0, old_slots, old.to(new.dtype)).index_copy_(0, new_slots, new)

        def recall(buffer: Tensor, new: Tensor) -> Tensor:
            return join(buffer[rows, rank % size].flatten(0, 1), new)

        joined = replace(
            elements,
            row=join(torch.where(rank >= 0, rows, -1).flatten(), elements.row),
            position=recall(self.position, elements.position),
            ptr=elements.ptr + torch.arange(n_rows + 1, device=q.device) * window,
            longest=None,
            even=False,
            packed=False,
        )
        queries = join(q.new_zeros(len(old_slots), *q.shape[1:]), q)
        y = attend_windows(queries, recall(self.keys, k), recall(self.values, v), joined, rule, bias)
        return y[new_slots]

    def _remember(self, k: Tensor, v: Tensor, elements: Elements) -> None:
        """Store the last W + 1 elements of every row, and count them all."""
        size = self.position.shape[1]
        count = (self.count + elements.counts).unsqueeze(1)
        newest = count - 1 - (count - 1 - torch.arange(size, device=k.device)) % size  # the rank in each slot
        is_new = newest >= self.count.unsqueeze(1)
        source = elements.ptr[:-1, None] + newest - self.count.unsqueeze(1)
        source = source.clamp(0, len(k) - 1)
        for buffer, new in ((self.keys, k), (self.values, v), (self.position, elements.position)):
            chosen = is_new.view(*is_new.shape, *[1] * (new.dim() - 1))
            buffer.copy_(torch.where(chosen, new.detach()[source].to(buffer), buffer))
        self.count.copy_(count.squeeze(1))


def _refusal(q: Tensor, keys: Tensor, rule: AttentionRule) -> str | None:
    """Why the kernel does not take a step; None: it does."""
    if rule.function.name not in FUNCTIONS:
        return f"it knows the functions {', '.join(FUNCTIONS)} only"
    for dtype in (q.dtype, keys.dtype):
        if dtype not in (torch.float32, torch.bfloat16, torch.float16):
            return f"it computes in float32, bfloat16 and float16, not in {dtype}"
    return None


def check_memory(
    state: State,
    elements: Elements,
    window: int | None,
    key_shape: tuple[int, ...],
    value_shape: tuple[int, ...],
) -> WorkingMemory:
    """The state of a step, see `check_state`, if it is the memory of attention of these sizes."""
    size = 0 if window is None else window + 1
    shapes = {"keys": (size, *key_shape), "values": (size, *value_shape), "position": (size,)}
    return check_state(state, WorkingMemory, elements.n_rows, **shapes)
