"""Sparse Modular Activation: route, compress, run, extract, weight, sum."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce

import torch
from torch import Tensor, nn
from typing_extensions import override

from sma.checks import check_dtype, check_part
from sma.compaction import Compaction, PackedCompaction
from sma.elements import Edges, Elements, PackedRows
from sma.recomputation import replayed
from sma.recording import record_layer
from sma.routing import Router, Routing, check_routing, route
from sma.sequence import SequenceModule, matrix_flops, zero_padding
from sma.state import State, check_parts, check_state
from sma.sub_module import SubModule, check_result


@dataclass(frozen=True)
class SMAState(State):
    """Decoding state of one SMA layer.

    Attributes:
        position: `(B,)` long; the number of elements each row has seen.
        router: the router's state.
        compaction: what the compaction's limit remembers, if it has one.
        sub_modules: one state per sub-module.
    """

    position: Tensor
    router: State
    compaction: State
    sub_modules: tuple[State, ...]


class SparseModularActivation(SequenceModule[SMAState]):
    r"""Every element activates any subset of M sub-modules; the others never see it.

    $$ y_t = \sum_{m:\, a_t^m = 1} c_t^m\, f_m(h \text{ restricted to the elements active for } m)_t $$

    with the hard decision a (no gradient) and the confidence c of the router (Eq. 3 of
    https://arxiv.org/abs/2306.11197).

    Args:
        router: decides; `router.n_modules` must equal the number of sub-modules.
        sub_modules: the M functions.
        compaction: how active elements are laid out; `PackedCompaction()` by default.

    Raises:
        ValueError: if the router decides for another number of sub-modules.
        TypeError: if a part is not a `Router` or `SubModule`, or `sub_modules` not a list.

    Example:
        >>> from sma.modules import GAU, LatentConfigurator
        >>> sma = SparseModularActivation(LatentConfigurator(16, n_modules=1), [GAU(16, window=4)])
        >>> sma(torch.randn(2, 10, 16)).shape
        torch.Size([2, 10, 16])
    """

    def __init__(
        self, router: Router, sub_modules: Sequence[SubModule], *, compaction: Compaction | None = None
    ) -> None:
        super().__init__()
        if not isinstance(sub_modules, Sequence | nn.ModuleList):
            raise TypeError(
                f"sub_modules must be a list of sub-modules, got a {type(sub_modules).__name__}; put it in a "
                "list: [...]"
            )
        for part, base in ((router, Router), *((module, SubModule) for module in sub_modules)):
            check_part(part, base)
        if router.n_modules != len(sub_modules):
            raise ValueError(
                f"the router decides for n_modules={router.n_modules}, but there are {len(sub_modules)} "
                "sub-modules; make them equal"
            )
        self.router = router
        self.sub_modules = nn.ModuleList(sub_modules)
        self.compaction = compaction if compaction is not None else PackedCompaction()

    @property
    @override
    def takes_rows(self) -> bool:
        """With `PackedCompaction` alone: others lay out, or limit, each row."""
        return super().takes_rows and type(self.compaction) is PackedCompaction

    @override
    def forward(
        self,
        x: Tensor,
        mask: Tensor | None = None,
        edges: Edges | None = None,
        rows: PackedRows | None = None,
    ) -> Tensor:
        """Apply the activated sub-modules; each sees the edges between the elements that activate it.

        Padding of `x` may hold anything. The result is exactly 0 where nothing is active, padding included.
        """
        if torch.jit.is_tracing():  # type: ignore[attr-defined,no-untyped-call]
            raise ValueError(
                "torch.jit.trace would keep the decisions about one input for all others; use torch.compile "
                "or torch.export"
            )
        x = zero_padding(x, mask)
        check_dtype(x, self)
        routing = route(self.router, x, mask, rows)
        routing = replace(routing, active=replayed(routing.active))
        kept = self.compaction.limit(routing.active, mask)
        batches = [self.compaction.compress(x, active) for active in kept.unbind(-1)]
        if rows is not None:
            batches = [rows.assign(elements) for elements in batches]
        record_layer(self, routing, batches, mask, rows)
        if mask is not None:
            batches = _at(mask.cumsum(1) - 1, batches)
        batches = [elements.with_edges(edges, x.shape[0] * x.shape[1]) for elements in batches]
        results = [module(elements) for module, elements in zip(self._parts(), batches, strict=True)]
        return self._combine(x, routing, batches, results)

    @override
    def init_state(
        self, batch_size: int, *, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> SMAState:
        router = self.router.init_state(batch_size, device=device, dtype=dtype)
        states = (m.init_state(batch_size, device=device, dtype=dtype) for m in self._parts())
        position = torch.zeros(batch_size, dtype=torch.long, device=device)
        compaction = self.compaction.init_state(batch_size, self.router.n_modules, device=device)
        return SMAState(position, router, compaction, tuple(states))

    @override
    def step(self, x: Tensor, state: SMAState, mask: Tensor | None = None) -> Tensor:
        """A sub-module's state advances only in the rows that activate it."""
        x = zero_padding(x, mask)
        check_state(state, SMAState, len(x))
        check_parts(state, state.sub_modules, len(self.sub_modules))
        routing = check_routing(self.router.step(x, state.router, mask), self.router, x, mask)
        kept = self.compaction.limit(routing.active, mask, state.compaction)
        batches = [self.compaction.piece.compress(x, active) for active in kept.unbind(-1)]
        record_layer(self, routing, batches, mask)
        batches = _at(_positions(state.position, x, mask), batches)
        results = [
            module.step(elements, part)
            for module, elements, part in zip(self._parts(), batches, state.sub_modules, strict=True)
        ]
        state.position.add_(x.shape[1] if mask is None else mask.sum(1))
        return self._combine(x, routing, batches, results)

    @override
    def flops(self, n: int) -> int:
        """The router's."""
        return n * matrix_flops(self.router)

    def _parts(self) -> list[SubModule]:
        return list(self.sub_modules)  # type: ignore[arg-type]

    def _combine(self, x: Tensor, routing: Routing, batches: list[Elements], results: list[Tensor]) -> Tensor:
        outputs = []
        for m, (elements, result) in enumerate(zip(batches, results, strict=True)):
            check_result(result, elements, self.sub_modules[m], f"sub_modules.{m}")
            if elements.nothing_to_compute:
                continue
            weight = elements.take(routing.confidence[..., m].flatten())
            weighted = weight.unsqueeze(-1).to(result) * result
            outputs.append(self.compaction.extract(weighted, elements, x.shape).to(x))
        return reduce(torch.add, outputs) if outputs else torch.zeros_like(x)


def _positions(seen: Tensor, x: Tensor, mask: Tensor | None) -> Tensor:
    """The positions `(B, L)` of new elements after those that were seen; anything at padding."""
    first = seen.unsqueeze(1)
    if x.shape[1] == 1:
        return first
    return first + (torch.arange(x.shape[1], device=x.device) if mask is None else mask.cumsum(1) - 1)


def _at(position: Tensor, batches: list[Elements]) -> list[Elements]:
    """The same elements at other positions, `(B, L)`."""
    flat = position.flatten()
    return [replace(e, position=e.take(flat)) for e in batches]


SMA = SparseModularActivation
