"""The base of all contract suites: running a property, preparing a module, comparing results."""

from collections.abc import Callable
from typing import Any, Generic, TypeVar

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from sma.testing.strategies import Draw

C = TypeVar("C")
Made = TypeVar("Made")
"""The type that a suite tests."""

EXACT = 1e-12
"""Tolerance in float64 where the same operations run on the same numbers."""
CLOSE = 1e-9
"""Tolerance in float64 where the order of operations differs."""


def property_test(test: Callable[[C, Draw], None], *, one_of: int = 1) -> Callable[[C], None]:
    """Turn a suite's method `test(self, draw)` into a Hypothesis test.

    It runs under the Hypothesis profile loaded at that time; only the deadline is lifted.

    Args:
        test: the method.
        one_of: try the profile's number of examples divided by this.
    """

    def run(self: C) -> None:
        def check(data: st.DataObject) -> None:
            test(self, data.draw)

        check.__name__ = f"{type(self).__name__}_{test.__name__}"  # the seed of a derandomized run
        lenient = settings(
            max_examples=max(1, settings().max_examples // one_of),
            deadline=None,
            report_multiple_bugs=False,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        )
        lenient(given(data=st.data())(check))()

    run.__module__, run.__name__, run.__doc__ = test.__module__, test.__name__, test.__doc__
    run.__qualname__ = test.__qualname__
    return run


def costly_property_test(test: Callable[[C, Draw], None]) -> Callable[[C], None]:
    """`property_test` with a quarter of the examples."""
    return property_test(test, one_of=4)


class Contract(Generic[Made]):
    """Base of the suites.

    Attributes:
        d_model: width of the inputs that the suite makes.
    """

    d_model: int = 8

    def make(self) -> Made:
        """Return a new instance of what is tested; elements have width `self.d_model`."""
        raise NotImplementedError(f"{type(self).__name__} needs a method `make`")


def prepare(make: Callable[[], Any], seed: int, dtype: torch.dtype = torch.float64) -> Any:
    """A module in evaluation mode, its parameters moved away from special values such as zero."""
    torch.manual_seed(seed)
    module = make().to(dtype).eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return module


def assert_close(actual: Tensor, expected: Tensor, what: str, *, tolerance: float = CLOSE) -> None:
    """Two tensors agree to an absolute and relative tolerance; NaN agrees with nothing."""
    torch.testing.assert_close(
        actual, expected, rtol=tolerance, atol=tolerance, msg=lambda details: f"{what}\n{details}"
    )


def assert_same(actual: Any, expected: Any, what: str) -> None:
    """Two values are equal; tensors in every entry."""
    same = torch.equal(actual, expected) if isinstance(expected, Tensor) else actual == expected
    assert same, f"{what}: expected {expected}, got {actual}"


def assert_finite(tensor: Tensor, what: str) -> None:
    """All entries are finite."""
    assert bool(torch.isfinite(tensor).all()), f"{what} must be finite, got {tensor}"


def assert_zero(tensor: Tensor, what: str) -> None:
    """Every entry is exactly zero."""
    assert bool((tensor == 0).all()), f"{what} must be exactly zero, got {tensor}"


def probe(y: Tensor) -> Tensor:
    """A scalar to which every entry of `y` contributes with a weight of its own."""
    weight = torch.arange(1, y.numel() + 1, dtype=torch.float64).cos()
    return (y * weight.to(y).view(y.shape)).sum()


def gradients(loss: Tensor, module: nn.Module) -> dict[str, Tensor]:
    """The gradient of every parameter, by name.

    Raises:
        AssertionError: if a parameter gets no gradient tensor.
    """
    module.zero_grad(set_to_none=True)
    if loss.requires_grad:
        loss.backward()  # type: ignore[no-untyped-call]
    found = {name: p.grad for name, p in module.named_parameters() if p.requires_grad}
    missing = [name for name, gradient in found.items() if gradient is None]
    assert not missing, f"every parameter must get a gradient tensor, zero at least; None in: {missing}"
    return {name: gradient.clone() for name, gradient in found.items() if gradient is not None}


def assert_checkpoint_agrees(
    run: Callable[[Tensor], Tensor], x: Tensor, module: nn.Module, seed: int
) -> None:
    """Activation checkpointing changes neither result nor gradients, and the same seed gives the same run."""
    runs = []
    for checkpointed in (False, False, True):
        leaf = x.detach().clone().requires_grad_()
        torch.manual_seed(seed)
        y = checkpoint(run, leaf, use_reentrant=False) if checkpointed else run(leaf)
        results = {"result": y.detach(), **gradients(probe(y), module)}
        runs.append(results if leaf.grad is None else {**results, "gradient of the input": leaf.grad})
    first, again, replayed = runs
    for name, value in first.items():
        assert_close(again[name], value, f"same seed, another run: {name}", tolerance=EXACT)
        assert_close(replayed[name], value, f"activation checkpointing: {name}", tolerance=EXACT)


def assert_gradcheck(run: Callable[[Tensor], Tensor], x: Tensor, module: nn.Module) -> None:
    """Gradients to `x` and to every parameter agree with finite differences."""
    leaf = x.detach().clone().requires_grad_()
    moved = [leaf, *(p for p in module.parameters() if p.requires_grad)]  # in place, by gradcheck
    # a small step seldom crosses a router's threshold
    torch.autograd.gradcheck(lambda *_: run(leaf), moved, fast_mode=True, eps=1e-7, atol=1e-6, rtol=1e-5)
