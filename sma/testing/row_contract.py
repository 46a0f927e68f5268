"""The properties of everything that maps a batch of rows to a batch of rows."""

import copy
from abc import abstractmethod
from typing import Any

import pytest
import torch
from hypothesis import strategies as st
from torch import Tensor, nn

from sma.causality import looking_ahead
from sma.routing import Router
from sma.state import State
from sma.testing.contract import (
    CLOSE,
    EXACT,
    Contract,
    Made,
    assert_checkpoint_agrees,
    assert_close,
    assert_finite,
    assert_gradcheck,
    assert_same,
    assert_zero,
    costly_property_test,
    gradients,
    prepare,
    probe,
    property_test,
)
from sma.testing.strategies import NAN, Draw, Layout, degenerate_layouts, join, layouts, schedules


class RowContract(Contract[Made]):
    """Properties of a map from `(B, L, D)` to `(B, L, K)`; numbers refer to the list in docs/design.md.

    Attributes:
        max_length: of the rows that are drawn; choose it beyond any window, chunk or threshold.
        supports_decoding: whether a causal module has `init_state` and `step`.
        smooth: whether gradients are those of the values, so that finite differences see them too; False
            for straight-through estimators.
        jumps: whether rounding can flip a decision; leaves out the comparison of precisions.
        padding: what padding holds.
        junk: the same where gradients are taken.
        tolerances: how far float32 and bfloat16 may be from float64, relative to the largest value.
    """

    max_length: int = 12
    supports_decoding: bool = True
    smooth: bool = True
    jumps: bool = False
    padding: float = NAN
    junk: float = NAN
    tolerances: tuple[float, float] = (1e-4, 0.1)

    @abstractmethod
    def run(self, module: Any, x: Tensor, mask: Tensor | None) -> Tensor:
        """The module's result on whole rows, `(B, L, K)`."""

    @abstractmethod
    def step(self, module: Any, x: Tensor, state: State, mask: Tensor | None) -> Tensor:
        """The module's result on the next elements, `(B, L, K)`."""

    def build(self, seed: int, dtype: torch.dtype = torch.float64) -> Any:
        """A module to test."""
        return prepare(self.make, seed, dtype)

    def inputs(self, draw: Draw, layout: Layout, *, fill: float | None = None) -> Tensor:
        """`(B, L, D)` with `fill` at padding; None: `self.padding`."""
        return layout.x(self.d_model, fill=self.padding if fill is None else fill)

    @property_test
    def test_shape(self, draw: Draw) -> None:
        """Results are finite at real elements; a mask without padding is the same as none."""
        layout = draw(layouts(max_length=self.max_length, max_padding=0))
        module, x = self.build(layout.seed), self.inputs(draw, layout)
        y = self.run(module, x, layout.mask)
        assert_same((*y.shape[:2], y.dtype), (*layout.shape, x.dtype), "shape and type")
        assert_finite(y[layout.real], "the result at real elements")
        if layout.mask is None:
            assert_close(self.run(module, x, layout.real), y, "a mask without padding")

    @property_test
    def test_rows_are_independent(self, draw: Draw) -> None:
        """Property 4: batch-mates, their lengths, and padding and its content do not matter to a row."""
        layout = draw(layouts(max_length=self.max_length))
        module, x = self.build(layout.seed), self.inputs(draw, layout)
        y = self.run(module, x, layout.mask)
        for b, span in enumerate(layout.spans):
            alone = self.run(module, x[b : b + 1, span], None)
            assert_close(y[b, span], alone[0], f"row {b} differs from the same row alone and unpadded")

    @property_test
    def test_padding_gets_no_gradient(self, draw: Draw) -> None:
        """Property 4, backward: no gradient depends on padding's content, and padding gets none.

        Where padding is 0 by contract, what makes it so stops its gradient.
        """
        if self.junk == 0:
            return
        layout = draw(layouts(min_rows=1, max_length=self.max_length))
        module, clean = self.build(layout.seed), self.inputs(draw, layout, fill=0.0)
        want = gradients(probe(self.run(module, clean, layout.real)[layout.real]), module)
        x = torch.where(layout.real[..., None], clean, self.junk).requires_grad_()
        got = gradients(probe(self.run(module, x, layout.real)[layout.real]), module)
        for name in want:
            assert_close(got[name], want[name], f"padding's content changes the gradient of {name}")
        if x.grad is not None:
            assert_zero(x.grad[~layout.real], "the gradient of padding")

    @property_test
    def test_degenerate_shapes(self, draw: Draw) -> None:
        """Property 5: no rows, no elements, one element: forward and backward."""
        layout = draw(degenerate_layouts())
        module, x = self.build(layout.seed), self.inputs(draw, layout, fill=self.junk).requires_grad_()
        y = self.run(module, x, layout.mask)
        assert_same(y.shape[:2], layout.shape, "shape")
        for name, gradient in gradients(probe(y[layout.real]), module).items():
            assert_finite(gradient, f"the gradient of {name}")

    @property_test
    def test_nothing_real(self, draw: Draw) -> None:
        """Property 6: where nothing takes part, every parameter's gradient is a zero tensor, not None."""
        layout = draw(layouts(max_length=0, max_padding=4))
        module, x = self.build(layout.seed), self.inputs(draw, layout, fill=0.5).requires_grad_()
        loss = probe(self.run(module, x, layout.real)[layout.real])
        for name, gradient in gradients(loss, module).items():
            assert_zero(gradient, f"the gradient of {name}")

    @property_test
    def test_causality(self, draw: Draw) -> None:
        """Property 7: neither what comes later nor whether anything comes later changes a causal result."""
        layout = draw(layouts(min_rows=1, max_length=self.max_length))
        module, x = self.build(layout.seed), self.inputs(draw, layout)
        if not module.causal:
            return
        t = draw(st.integers(0, layout.shape[1]))
        y = self.run(module, x, layout.real)
        other = torch.cat([x[:, :t], -3 * x[:, t:].flip(-1)], 1)
        changed = self.run(module, other, layout.real)
        cut = self.run(module, x[:, :t], layout.real[:, :t])
        past = layout.real & (torch.arange(layout.shape[1]) < t)
        assert_close(changed[past], y[past], f"what follows {t} changed what precedes it", tolerance=EXACT)
        assert_close(cut[past[:, :t]], y[past], f"without what follows {t}, what precedes it differs")

    def test_a_language_model_refuses_what_looks_ahead(self) -> None:
        """Property 7: nothing in a causal module looks ahead; of others a language model finds what does."""
        module = self.build(0)
        predicts = any(isinstance(part, Router) and part.predicts for part in module.modules())
        for training in (True, False):
            found = looking_ahead(nn.ModuleList([module.train(training)]))
            if module.causal:
                assert not found, f"causal is true, but something inside looks ahead: {', '.join(found)}"
            else:
                assert found or predicts, "causal is false, but a language model would not refuse it"

    @property_test
    def test_steps(self, draw: Draw) -> None:
        """Property 8: piece by piece, with any padding, the result is that of whole rows."""
        layout = draw(layouts(min_rows=1, max_length=self.max_length))
        module, x = self.build(layout.seed), self.inputs(draw, layout)
        if not self._decodes(module):
            with pytest.raises(NotImplementedError):
                module.init_state(len(layout.lengths))
            return
        whole = layout.rows(self.run(module, x, layout.mask))
        chunks, state = draw(schedules(layout.lengths)), self._state(module, len(whole))
        pieces = [chunk.take(layout.rows(x), fill=self.padding) for chunk in chunks]
        results = [self._step(module, x, state, c.layout) for x, c in zip(pieces, chunks, strict=True)]
        for b, row in enumerate(join(chunks, results)):
            assert_close(row, whole[b], f"row {b} step by step differs from the whole row")

    @property_test
    def test_state_rows_move(self, draw: Draw) -> None:
        """Property 8: rows can leave a running batch and join another, each with its part of the state."""
        layout = draw(layouts(min_rows=1, max_length=self.max_length))
        module, rows = self.build(layout.seed), layout.rows(self.inputs(draw, layout))
        if not self._decodes(module):
            return
        n = len(rows)
        first, second = (draw(schedules(layout.lengths)) for _ in range(2))
        order = torch.tensor(draw(st.permutations(range(n))))
        state = self._state(module, n)
        half = len(first) // 2
        for chunk in first[:half]:
            self._step(module, chunk.take(rows, fill=self.padding), state, chunk.layout)
        moved = self._state(module, n)
        for chunk in second:  # the state that is overwritten has seen something else
            self._step(module, chunk.take(rows, fill=self.padding), moved, chunk.layout)
        moved.insert(torch.arange(n), state.select(order))
        for chunk in first[half:]:
            here = chunk.take(rows, fill=self.padding)
            expected = self._step(module, here, state, chunk.layout)
            mask = chunk.layout.real
            with torch.no_grad():
                got = self.step(module, here[order], moved, mask[order])
            assert_close(got[mask[order]], expected[order][mask[order]], f"rows moved to {order.tolist()}")

    @costly_property_test
    def test_gradients_of_steps(self, draw: Draw) -> None:
        """Property 8, backward: from a fresh state a step has the gradients of whole rows, or none at all."""
        layout = draw(layouts(min_rows=1, max_length=self.max_length))
        module, x = self.build(layout.seed), self.inputs(draw, layout, fill=self.junk)
        if not self._decodes(module):
            return
        state, results = self._state(module, len(x)), []
        for run in (self.run, lambda module, x, mask: self.step(module, x, state, mask)):
            leaf = x.clone().requires_grad_()
            y = run(module, leaf, layout.mask)[layout.real]
            if not y.requires_grad:
                return
            named = {"the input": leaf, **{n: p for n, p in module.named_parameters() if p.requires_grad}}
            grads = torch.autograd.grad(probe(y), list(named.values()), materialize_grads=True)
            results.append(dict(zip(named, grads, strict=True)))
        for name, tensor in state.tensors():
            assert not tensor.requires_grad, f"state {name} must not hold a graph: detach what it remembers"
        for result in results:
            if self.junk == 0:  # by contract; what makes it so stops its gradient
                result["the input"] = result["the input"][layout.real]
        for name, gradient in results[0].items():
            assert_close(results[1][name], gradient, f"the gradient of {name} through a step")

    @costly_property_test
    def test_kept_states(self, draw: Draw) -> None:
        """Property 8: a state that is kept does not change, and one of inference mode works outside of it."""
        layout = draw(layouts(min_rows=1, max_length=self.max_length))
        module, rows = self.build(layout.seed), layout.rows(self.inputs(draw, layout))
        if not self._decodes(module):
            return
        chunks, state = draw(schedules(layout.lengths)), self._state(module, len(rows))
        with torch.inference_mode():
            other = self._state(module, len(rows))
        for i, chunk in enumerate(chunks):
            kept = [state.clone(), state.to("cpu"), state.select(torch.arange(len(rows)))]
            kept.append(kept[0].map(lambda tensor: tensor))
            before = {name: tensor.clone() for name, tensor in state.tensors()}
            here = chunk.take(rows)
            with torch.inference_mode(i % 2 == 0):
                got = self.step(module, here, other, chunk.layout.mask)[chunk.layout.real]
            expected = self._step(module, here, state, chunk.layout)[chunk.layout.real]
            assert_close(got.clone(), expected, "a state of inference mode gives another result")
            for copied in kept:
                for name, tensor in copied.tensors():
                    assert_same(tensor, before[name], f"{name} of a state that was kept")

    @costly_property_test
    def test_checkpointing(self, draw: Draw) -> None:
        """Property 9: activation checkpointing replays the same run, and the same seed gives the same."""
        layout = draw(layouts(min_rows=1, max_length=self.max_length))
        module, x = self.build(layout.seed).train(), self.inputs(draw, layout, fill=0.5)
        real = layout.real
        assert_checkpoint_agrees(lambda leaf: self.run(module, leaf, real)[real], x, module, layout.seed)

    @costly_property_test
    def test_gradcheck(self, draw: Draw) -> None:
        """Property 11: gradients agree with finite differences in float64."""
        layout = draw(layouts(min_rows=1, max_rows=2, max_length=6, max_padding=1))
        module, x = self.build(layout.seed), self.inputs(draw, layout, fill=0.5)
        real = layout.real
        if self.smooth and self.run(module, x.requires_grad_(), real)[real].requires_grad:
            assert_gradcheck(lambda leaf: self.run(module, leaf, real)[real], x, module)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
    def test_dtypes(self, dtype: torch.dtype) -> None:
        """The result has the input's type, is finite, and is near that of float64; so are steps."""
        module, layout = self.build(0, dtype), Layout((7, 4, 0), padding=1)
        x = layout.x(self.d_model, fill=self.junk, dtype=dtype)
        assert_same(self.run(module, x, layout.mask).dtype, dtype, "type of the result")
        tolerance = {torch.float64: CLOSE, torch.float32: self.tolerances[0]}.get(dtype, self.tolerances[1])
        self._check_precision(module, x, layout, tolerance)

    def test_autocast(self) -> None:
        """Under autocast results are finite and near those of float64; so are steps."""
        module, layout = self.build(0, torch.float32), Layout((7, 4, 0), padding=1)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            x = layout.x(self.d_model, fill=self.junk, dtype=torch.float32)
            self._check_precision(module, x, layout, self.tolerances[1])

    def _check_precision(self, module: Any, x: Tensor, layout: Layout, tolerance: float) -> None:
        y = self.run(module, x, layout.mask)[layout.real]
        for name, gradient in gradients(probe(y), module).items():
            assert_finite(gradient, f"the gradient of {name}")
        results = [y]
        if self._decodes(module):
            with torch.no_grad():
                state = module.init_state(len(x), dtype=x.dtype)
                results.append(self.step(module, x, state, layout.mask)[layout.real])
        with torch.autocast("cpu", enabled=False):
            double = copy.deepcopy(module).double()
            reference = self.run(double, x.double(), layout.mask)[layout.real]
        for result in results:
            assert_finite(result, "the result at real elements")
            if not self.jumps:
                scale = reference.abs().max().clamp(min=1e-3)
                assert_close(result.double() / scale, reference / scale, "precision", tolerance=tolerance)

    def _decodes(self, module: Any) -> bool:
        return self.supports_decoding and module.causal

    def _state(self, module: Any, n_rows: int) -> State:
        state = module.init_state(n_rows, dtype=torch.float64)
        for name, tensor in state.tensors():
            assert tensor.shape[:1] == (n_rows,), f"state {name} must have the batch first, as State says"
        return state

    def _step(self, module: Any, x: Tensor, state: State, layout: Layout) -> Tensor:
        """One step, after which rows without a real element must have kept their state."""
        before = {name: tensor.clone() for name, tensor in state.tensors()}
        with torch.no_grad():
            y = self.step(module, x, state, layout.mask)
        idle = ~layout.real.any(1)
        for name, tensor in state.tensors():
            assert tensor.shape == before[name].shape, f"state {name} changed its size"
            assert torch.equal(tensor[idle], before[name][idle]), f"state {name} advanced in an idle row"
        return y
