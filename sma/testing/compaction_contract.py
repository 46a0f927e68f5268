"""The contract suite of compactions."""

from itertools import pairwise
from typing import Any

import torch
from torch import nn
from typing_extensions import override

from sma.activation import SparseModularActivation
from sma.compaction import Compaction
from sma.elements import Elements
from sma.testing.contract import (
    assert_close,
    assert_finite,
    assert_gradcheck,
    assert_same,
    assert_zero,
    costly_property_test,
    prepare,
    probe,
    property_test,
)
from sma.testing.oracle import oracle
from sma.testing.sequence_contract import SequenceModuleContract
from sma.testing.strategies import NAN, Draw, activities, layouts, routings
from sma.testing.toys import CausalMean, FixedRouter, InputRouter


class CompactionContract(SequenceModuleContract[Compaction]):
    """The properties of every compaction that keeps all elements; numbers refer to docs/design.md.

    Derive a class in a test file, and say how to make the compaction, with a capacity of at least 12 elements
    per row. It runs on its own, and in a layer of two sub-modules, which must have every property of a
    `SequenceModuleContract`.

    Example:
        >>> from sma import CapacityCompaction
        >>> class TestCapacity(CompactionContract):
        ...     def make(self):
        ...         return CapacityCompaction(12)
        >>> TestCapacity().test_round_trip()
    """

    padding = NAN
    junk = NAN

    @override
    def build(self, seed: int, dtype: torch.dtype = torch.float64) -> Any:
        """A layer of two sub-modules with this compaction."""
        return prepare(self._layer, seed, dtype)

    @property_test
    def test_elements(self, draw: Draw) -> None:
        """`Elements` are the active ones, in order; padding slots hold what their docstring says."""
        layout = draw(layouts())
        x, active = layout.x(3), draw(activities(layout)).squeeze(-1)
        elements = self.make().compress(x, active)
        rows, positions = active.nonzero(as_tuple=True)
        valid = elements.valid
        assert_same(elements.n_rows, len(layout.lengths), "n_rows")
        assert_same(elements.row[valid], rows, "row")
        assert_same(elements.position[valid], positions, "position")
        assert_same(elements.index[valid], rows * layout.shape[1] + positions, "index")
        assert_same(elements.x[valid], x[active], "x")
        assert_zero(elements.x[~valid], "x in a padding slot")
        assert_zero(elements.row[~valid] + 1, "row + 1 in a padding slot")
        assert_zero(elements.position[~valid], "position in a padding slot")
        assert_zero(elements.index[~valid], "index in a padding slot")
        _check_ptr(elements)

    @property_test
    def test_round_trip(self, draw: Draw) -> None:
        """Property 2: extract(compress(x)) is x where active and 0 elsewhere; gradients too."""
        layout = draw(layouts())
        active = draw(activities(layout))
        x = torch.where(active, layout.x(3), NAN).requires_grad_()
        compaction = self.make()
        elements = compaction.compress(x, active.squeeze(-1))
        y = compaction.extract(elements.x, elements, x.shape)
        assert_same(y, torch.where(active, x, 0), "extract(compress(x))")
        weight = torch.ones_like(y).cumsum(1)
        (y * weight).sum().backward()  # type: ignore[no-untyped-call]
        assert x.grad is not None
        assert_same(x.grad, torch.where(active, weight, 0), "the gradient of extract(compress(x))")

    @property_test
    def test_extract_drops_padding_slots(self, draw: Draw) -> None:
        """Property 1: what a sub-module returns in padding slots reaches no result and gets no gradient."""
        layout = draw(layouts())
        active = draw(activities(layout)).squeeze(-1)
        compaction = self.make()
        elements = compaction.compress(layout.x(3), active)
        results = torch.where(elements.valid[:, None], elements.x[:, :2], NAN).requires_grad_()
        y = compaction.extract(results, elements, (*layout.shape, 2))
        assert_finite(y, "the result where padding slots hold NaN")
        probe(y).backward()  # type: ignore[no-untyped-call]
        assert results.grad is not None
        assert_zero(results.grad[~elements.valid], "the gradient of a padding slot")

    @property_test
    def test_agrees_with_the_oracle(self, draw: Draw) -> None:
        """Property 3: a layer computes what each row's active elements give on their own; gradients too."""
        layout = draw(layouts())
        routing = draw(routings(layout, n_modules=2))
        layer = self.build(layout.seed)
        layer.router = FixedRouter(routing)
        results = []
        for compute in (layer, lambda x, mask: oracle(x, routing, list(layer.sub_modules), mask)):
            x = layout.x(self.d_model).requires_grad_()
            routing.confidence.grad = None
            y = compute(x, layout.mask)
            if y.requires_grad:
                probe(y).backward()  # type: ignore[no-untyped-call]
            grads = [torch.zeros_like(t) if t.grad is None else t.grad for t in (x, routing.confidence)]
            results.append((y, *grads))
        for name, ours, expected in zip(
            ("result", "gradient", "confidence's gradient"), *results, strict=True
        ):
            assert_close(ours, expected, name)

    @costly_property_test
    def test_gradcheck_alone(self, draw: Draw) -> None:
        """Property 11: gradients of compress and of extract agree with finite differences."""
        layout = draw(layouts(min_rows=1, max_length=4))
        active = draw(activities(layout)).squeeze(-1)
        x, compaction = layout.x(3, fill=0.5), self.make()
        elements = compaction.compress(x, active)
        if not bool(active.any()):
            return
        assert_gradcheck(lambda leaf: compaction.compress(leaf, active).x, x, nn.Identity())
        assert_gradcheck(lambda leaf: compaction.extract(leaf, elements, x.shape), elements.x, nn.Identity())

    def _layer(self) -> SparseModularActivation:
        parts = [CausalMean(self.d_model) for _ in range(2)]
        return SparseModularActivation(InputRouter(2), parts, compaction=self.make())


def _check_ptr(elements: Elements) -> None:
    """Row b owns the slots ptr[b]:ptr[b + 1], its elements first and then its padding slots."""
    ptr = elements.ptr.tolist()
    assert_same((ptr[0], ptr[-1]), (0, len(elements.x)), "ptr at the ends")
    for b, (start, stop) in enumerate(pairwise(ptr)):
        rows = elements.row[start:stop].tolist()
        n = rows.count(b)
        assert_same(rows, [b] * n + [-1] * (len(rows) - n), f"owners of the slots {start}:{stop}")
