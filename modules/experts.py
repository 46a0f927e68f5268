"""Mixture of experts: many feed-forwards of one shape behind a router, computed as one bank."""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from sma.capacity import Share, within
from sma.checks import check_features, check_not_mapped, check_part, check_sizes
from sma.elements import Edges, PackedRows
from sma.modules.functional import activation_function, truncated_normal
from sma.recomputation import replayed
from sma.recording import record_layer
from sma.routing import Router, Routing, check_routing, route
from sma.sequence import SequenceModule, matrix_flops, zero_padding
from sma.state import NoState, State, check_state


class ExpertBank(nn.Module):
    r"""E feed-forwards with stacked weights, each applied to a contiguous slice of its input.

    $$ f_e(x) = \phi(x\, W^{\text{in}}_e)\, W^{\text{out}}_e \quad\text{or, gated,}\quad
       f_e(x) = \big(\phi(x\, W^{\text{gate}}_e) \odot x\, W^{\text{in}}_e\big)\, W^{\text{out}}_e $$

    A loop over the slices; on CUDA in bfloat16 one grouped matrix product per layer.

    Args:
        d_model: D.
        n_experts: E.
        d_hidden: H.
        gated: whether there is a gate; `weight_in` then holds the gate first, `(E, D, 2 H)`.
        activation: \(\phi\), a name that `activation_function` knows.
        dropout: on the hidden units.

    Raises:
        ValueError: if `n_experts` is less than 1.

    Example:
        >>> bank = ExpertBank(8, n_experts=3, d_hidden=16)
        >>> bank(torch.randn(10, 8), counts=torch.tensor([4, 0, 6])).shape
        torch.Size([10, 8])
    """

    def __init__(
        self,
        d_model: int,
        *,
        n_experts: int,
        d_hidden: int,
        gated: bool = True,
        activation: str = "silu",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_sizes(d_model=d_model, n_experts=n_experts, d_hidden=d_hidden)
        self.n_experts = n_experts
        self.gated = gated
        self.weight_in = truncated_normal(n_experts, d_model, (1 + gated) * d_hidden)
        self.weight_out = truncated_normal(n_experts, d_hidden, d_model)
        self.activation = activation_function(activation)
        self.dropout = nn.Dropout(dropout)

    @override
    def forward(self, x: Tensor, counts: Tensor) -> Tensor:
        """Apply each expert to its slice.

        Args:
            x: `(P, D)`, sorted by expert.
            counts: `(E,)` long; the lengths of the slices, P in all. Where `is_grouped`, rows may follow
                that belong to no expert; what is returned for them is undefined.

        Returns:
            `(P, D)`.
        """
        check_features(x, 2, self.weight_in.shape[1])
        if self.is_grouped(x):
            return self._grouped(x, counts)
        slices = zip(
            torch.split(x, counts.tolist()), self.weight_in.unbind(), self.weight_out.unbind(), strict=True
        )
        return torch.cat([self._activate(part @ w_in) @ w_out for part, w_in, w_out in slices])

    def flops(self, n: int) -> int:
        """Operations of `n` elements, each in one expert; a multiply-add counts as 2."""
        shapes = (self.weight_in.shape[1:], self.weight_out.shape[1:])  # all that one process knows of shards
        return 2 * n * sum(shape.numel() for shape in shapes)

    def _activate(self, hidden: Tensor) -> Tensor:
        if not self.gated:
            return self.dropout(self.activation(hidden))
        gate, hidden = hidden.chunk(2, -1)
        return self.dropout(self.activation(gate) * hidden)

    def is_grouped(self, x: Tensor) -> bool:
        """Whether one grouped product serves, which reads `counts` on the device: the host does not wait.

        On a device, for bfloat16, rows of whole 16 bytes, and not none of them.
        """
        aligned = all(size % 8 == 0 for size in (*self.weight_in.shape[1:], *self.weight_out.shape[1:]))
        return (
            x.device.type != "cpu"
            and _compute_dtype(x) == torch.bfloat16
            and aligned
            and len(x) > 0
            and hasattr(F, "grouped_mm")
        )

    def _grouped(self, x: Tensor, counts: Tensor) -> Tensor:
        ends = counts.cumsum(0, dtype=torch.int32)
        x, w_in, w_out = (t.to(_compute_dtype(x)) for t in (x, self.weight_in, self.weight_out))
        hidden = self._activate(F.grouped_mm(x, w_in, offs=ends))
        return F.grouped_mm(hidden, w_out, offs=ends)


@dataclass(frozen=True)
class FairShareState(State):
    """State of a capacity limit between the pieces of rows.

    Attributes:
        assigned: `(B,)` long; the assignments to experts that each row has made.
        taken: `(B, E)` long; those that each expert took.
    """

    assigned: Tensor
    taken: Tensor


@dataclass(frozen=True)
class MixtureOfExpertsState(State):
    """Decoding state of a mixture of experts.

    Attributes:
        router: the router's state.
        capacity: what the capacity limit remembers, if there is one.
    """

    router: State
    capacity: State


class MixtureOfExperts(SequenceModule[MixtureOfExpertsState]):
    r"""Every element's activated experts, weighted by their confidence and summed.

    The same function as `SparseModularActivation(router, experts)`, but the experts are one `ExpertBank`: the
    (element, expert) pairs are sorted by expert and computed as contiguous slices.

    With a `capacity_factor`, no expert takes more than its share of a row:

    $$ \text{taken}_e(t) \le \lceil \text{capacity\_factor} \cdot n(t) / E \rceil \quad\text{at every } t, $$

    where n(t) counts the assignments that the row made up to t. What exceeds it is dropped: it contributes
    zero, as if it had not activated. Counting row by row and from the past alone keeps rows independent, the
    layer causal and decoding exact. `sma.record` counts what was dropped as `overflow`.

    Args:
        router: decides; `router.n_modules` must equal `bank.n_experts`.
        bank: the experts.
        capacity_factor: None for no limit. 1 lets every expert take an equal share.

    Raises:
        ValueError: if the numbers of experts differ, or `capacity_factor` is not positive.

    Example:
        >>> from sma.modules import TopKRouter
        >>> router = TopKRouter(8, n_modules=4, top_k=2)
        >>> experts = MixtureOfExperts(router, ExpertBank(8, n_experts=4, d_hidden=16))
        >>> experts(torch.randn(2, 5, 8)).shape
        torch.Size([2, 5, 8])
    """

    def __init__(self, router: Router, bank: ExpertBank, *, capacity_factor: float | None = None) -> None:
        super().__init__()
        check_part(router, Router)
        if router.n_modules != bank.n_experts:
            raise ValueError(
                f"the router decides for n_modules={router.n_modules}, but the bank has "
                f"n_experts={bank.n_experts}; make them equal"
            )
        if capacity_factor is not None and not 0 < capacity_factor < math.inf:
            raise ValueError(f"capacity_factor must be positive, or None for no limit, got {capacity_factor}")
        self.router = router
        self.bank = bank
        self.capacity_factor = capacity_factor
        self._share = None if capacity_factor is None else Share.of(capacity_factor, parts=bank.n_experts)

    @property
    def sub_modules(self) -> list[ExpertBank]:
        """One entry per expert, as a layer's record lists them: the bank, which counts any expert's cost."""
        return [self.bank] * self.bank.n_experts

    @property
    @override
    def takes_rows(self) -> bool:
        """Unless a capacity limits each row."""
        return super().takes_rows and self._share is None

    @override
    def forward(
        self,
        x: Tensor,
        mask: Tensor | None = None,
        edges: Edges | None = None,
        rows: PackedRows | None = None,
    ) -> Tensor:
        """Exactly 0 where nothing is active, padding included."""
        x = zero_padding(x, mask)
        routing = route(self.router, x, mask, rows)
        routing = replace(routing, active=replayed(routing.active))
        kept = self._within_capacity(routing.active, None)
        return self._run(x, routing, kept, mask, rows)

    @override
    def init_state(
        self, batch_size: int, *, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> MixtureOfExpertsState:
        router = self.router.init_state(batch_size, device=device, dtype=dtype)
        return MixtureOfExpertsState(router, self._capacity_state(batch_size, device))

    @override
    def step(self, x: Tensor, state: MixtureOfExpertsState, mask: Tensor | None = None) -> Tensor:
        x = zero_padding(x, mask)
        check_state(state, MixtureOfExpertsState, len(x))
        routing = check_routing(self.router.step(x, state.router, mask), self.router, x, mask)
        kept = self._within_capacity(routing.active, state.capacity)
        return self._run(x, routing, kept, mask)

    @override
    def flops(self, n: int) -> int:
        """The router's."""
        return n * matrix_flops(self.router)

    def _run(
        self,
        x: Tensor,
        routing: Routing,
        kept: Tensor,
        mask: Tensor | None,
        rows: PackedRows | None = None,
    ) -> Tensor:
        received = (kept if rows is None else rows.pad(kept)).sum(1)
        record_layer(self, routing, received, mask, rows)
        check_not_mapped(kept, "MixtureOfExperts")
        counts = kept.sum((0, 1))
        n_elements = kept.shape[0] * kept.shape[1]
        pair, real = self._pairs(x, kept)
        element = pair % max(n_elements, 1)
        gathered = _zeroed(x.flatten(0, 1).index_select(0, element), real)
        result = _zeroed(self.bank(gathered, counts), real)
        weight = _by_expert(routing.confidence).index_select(0, pair).unsqueeze(-1)
        output = torch.zeros_like(x).flatten(0, 1)
        return output.index_add(0, element, (weight.to(result) * result).to(output)).view(x.shape)

    def _pairs(self, x: Tensor, kept: Tensor) -> tuple[Tensor, Tensor | None]:
        """The pairs of an expert and an element, in this order, as places in `_by_expert`.

        On a device, where the router bounds their number, in a list of that length, and which of them are
        real: to know how many there are the host would wait.
        """
        flat = _by_expert(kept)
        if self.router.max_rate >= 1 or not self.bank.is_grouped(x):
            return flat.nonzero().squeeze(1), None
        n_rows, length, n_experts = kept.shape
        size = n_rows * n_experts * Share.of(self.router.max_rate).round_up(length)
        place = torch.where(flat, flat.cumsum(0) - 1, size)
        places = torch.arange(len(flat), device=flat.device)
        pair = places.new_zeros(size + 1).scatter(0, place, places)[:size]
        return pair, torch.arange(size, device=flat.device) < flat.sum()

    def _capacity_state(self, batch_size: int, device: torch.device | None) -> State:
        if self.capacity_factor is None:
            return NoState()
        shapes = (batch_size,), (batch_size, self.bank.n_experts)
        assigned, taken = (torch.zeros(shape, dtype=torch.long, device=device) for shape in shapes)
        return FairShareState(assigned, taken)

    def _within_capacity(self, active: Tensor, state: State | None) -> Tensor:
        """`(B, L, E)` bool: what of `active` the experts take, advancing `state`; None: whole rows."""
        if self._share is None:
            return active
        fresh = self._capacity_state(len(active), active.device) if state is None else state
        before = check_state(fresh, FairShareState, len(active), assigned=(), taken=(self.bank.n_experts,))
        per_element = active.sum(-1)
        assigned = before.assigned[:, None] + per_element.cumsum(1)
        kept = within(active, self._share.round_up(assigned).unsqueeze(-1), before.taken)
        if state is not None:
            before.assigned.add_(per_element.sum(1))
            before.taken.add_(kept.sum(1))
        return kept


def _by_expert(x: Tensor) -> Tensor:
    """`(B, L, E)` as a flat `(E * B * L)` list: all elements of the first expert, then of the next."""
    return x.flatten(0, 1).T.flatten()


def _zeroed(x: Tensor, real: Tensor | None) -> Tensor:
    """`x (P, D)`, 0 in rows that are not real, as are their gradients."""
    return x if real is None else x.masked_fill(~real.unsqueeze(1), 0)


def _compute_dtype(x: Tensor) -> torch.dtype:
    """The dtype that a matrix product of `x` runs in."""
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
