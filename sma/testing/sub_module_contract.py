"""The contract suite of sub-modules: what can be routed."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from sma.activation import SparseModularActivation
from sma.compaction import CapacityCompaction, PackedCompaction, PaddedCompaction
from sma.sub_module import SubModule
from sma.testing.contract import (
    EXACT,
    assert_close,
    assert_finite,
    assert_same,
    assert_zero,
    gradients,
    prepare,
    probe,
    property_test,
)
from sma.testing.oracle import oracle
from sma.testing.sequence_contract import SequenceModuleContract
from sma.testing.strategies import NAN, Draw, Layout, activities, compactions, layouts, routings
from sma.testing.toys import FixedRouter, InputRouter

COMPACTIONS = (PackedCompaction(), PaddedCompaction(), CapacityCompaction(1.0))


class SubModuleContract(SequenceModuleContract[SubModule]):
    """The properties of every sub-module; numbers refer to the list in docs/design.md.

    Derive a class in a test file, and say how to make the sub-module. It runs inside the smallest layer there
    is, behind a router that reads its decisions from the input's first channel, and so must have every
    property of a `SequenceModuleContract` too. Set `supports_decoding = False` for one without `init_state`
    and `step`; `flops` it must have.

    Example:
        >>> from sma.testing import CausalMean
        >>> class TestCausalMean(SubModuleContract):
        ...     def make(self):
        ...         return CausalMean(8)
        >>> TestCausalMean().test_flops()
    """

    padding = NAN
    junk = NAN

    @override
    def build(self, seed: int, dtype: torch.dtype = torch.float64) -> Any:
        """A layer around the sub-module; the seed picks the compaction, too."""
        module = prepare(self.make, seed, dtype)
        compaction = COMPACTIONS[seed % len(COMPACTIONS)]
        return SparseModularActivation(InputRouter(1), [module], compaction=compaction).eval()

    @override
    def inputs(self, draw: Draw, layout: Layout, *, fill: float | None = None) -> Tensor:
        """Inputs whose first channel is positive where the layer shall be active."""
        x = super().inputs(draw, layout, fill=fill)
        active = draw(activities(layout))
        x[..., :1] = torch.where(active, x[..., :1].abs() + 0.1, -x[..., :1].abs() - 0.1)
        return x

    @property_test
    def test_skipped_elements(self, draw: Draw) -> None:
        """Property 1: a skipped element is not seen, contributes zero and gets no gradient."""
        layout = draw(layouts(max_length=self.max_length))
        routing = draw(routings(layout))
        module, compaction = prepare(self.make, layout.seed), draw(compactions())
        x = torch.where(routing.active, layout.x(self.d_model), NAN).requires_grad_()
        layer = SparseModularActivation(FixedRouter(routing), [module], compaction=compaction)
        y = layer(x, layout.mask)
        assert_finite(y, "the result where skipped elements hold NaN")
        skipped = ~routing.active.squeeze(-1)
        assert_zero(y[skipped], "the result of a skipped element")
        for name, gradient in gradients(probe(y), module).items():
            assert_finite(gradient, f"the gradient of {name} where skipped elements hold NaN")
        assert x.grad is not None
        assert_zero(x.grad[skipped], "the gradient of a skipped element")
        assert routing.confidence.grad is not None
        assert_zero(routing.confidence.grad[skipped], "the gradient of a skipped confidence")

    @property_test
    def test_agrees_with_the_oracle(self, draw: Draw) -> None:
        """Property 3: whatever the compaction, the result is that of each row's elements on their own."""
        layout = draw(layouts(max_length=self.max_length))
        routing = draw(routings(layout))
        module = prepare(self.make, layout.seed)
        x = layout.x(self.d_model)
        want = oracle(x, routing, [module], layout.mask)
        for compaction in COMPACTIONS:
            layer = SparseModularActivation(FixedRouter(routing), [module], compaction=compaction)
            assert_close(layer(x, layout.mask), want, type(compaction).__name__)

    @property_test
    def test_padding_slots(self, draw: Draw) -> None:
        """Padding slots influence nothing, whatever they hold, and give finite results."""
        layout = draw(layouts(min_rows=1, max_length=self.max_length))
        module, active = prepare(self.make, layout.seed), draw(activities(layout)).squeeze(-1)
        elements = CapacityCompaction(1.0).compress(layout.x(self.d_model), active)
        padding = ~elements.valid
        junk = replace(
            elements,
            x=torch.where(padding[:, None], 1e3, elements.x),
            position=torch.where(padding, 7, elements.position),
        )
        x = junk.x.requires_grad_()
        y, want = module(junk), module(elements)
        assert_same(y.shape, elements.x.shape, "shape")
        assert_close(y[~padding], want[~padding], "a padding slot changed a result", tolerance=EXACT)
        assert_finite(torch.cat([y, want]), "the result in padding slots")
        gradients(probe(y[~padding]), module)
        if x.grad is not None:
            assert_zero(x.grad[padding], "the gradient of a padding slot")

    def test_nothing_active(self) -> None:
        """Property 6: without elements every parameter's gradient is a zero tensor, not None."""
        for compaction in COMPACTIONS:
            module = prepare(self.make, 0)
            x = torch.randn(2, 5, self.d_model, dtype=torch.float64, requires_grad=True)
            layer = SparseModularActivation(InputRouter(1), [module], compaction=compaction)
            for name, gradient in gradients(probe(layer(-x.abs())), module).items():
                assert_zero(gradient, f"the gradient of {name}")

    def test_flops(self) -> None:
        """Operations are counted in whole numbers; none for no elements, and never fewer for more."""
        module = self.make()
        counts = [module.flops(n) for n in (0, 1, 2, 5, 100)]
        assert all(isinstance(count, int) for count in counts), f"flops must be ints, got {counts}"
        assert_same(counts[0], 0, "flops of no elements")
        assert_same(counts, sorted(counts), "flops of 0, 1, 2, 5 and 100 elements")
