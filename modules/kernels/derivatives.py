"""Second derivatives of kernels, which have first ones only."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from sma.modules.functional import transformed


def twice_differentiable(
    fused: Callable[..., tuple[Tensor, ...]],
    plain: Callable[..., tuple[Tensor, ...]],
    *tensors: Tensor | None,
) -> tuple[Tensor, ...]:
    """`fused(*tensors)`, whose gradients are those of `plain` where they shall be differentiated again.

    Args:
        fused: a function with first derivatives.
        plain: the same function with all of them.
        tensors: what to differentiate by; None where an argument is absent.
    """
    needed = torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in tensors)
    if not needed or torch.compiler.is_compiling():
        return fused(*tensors)
    results: tuple[Tensor, ...] = _Twice.apply(fused, plain, *tensors)  # type: ignore[no-untyped-call]
    return results


class _Twice(torch.autograd.Function):
    """Keeps the graph of `fused`."""

    @staticmethod
    @override
    def forward(
        ctx: Any, fused: Callable[..., Any], plain: Callable[..., Any], *tensors: Tensor | None
    ) -> tuple[Tensor, ...]:
        with torch.enable_grad():
            ctx.own = [None if x is None else x.detach().requires_grad_(x.requires_grad) for x in tensors]
            ctx.results = fused(*ctx.own)
        ctx.plain = plain
        ctx.save_for_backward(*tensors)
        return tuple(x.detach() for x in ctx.results)

    @staticmethod
    @override
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        batched = any(torch._C._functorch.is_legacy_batchedtensor(grad) for grad in grads)
        if torch.is_grad_enabled() or transformed() or batched:
            with torch.enable_grad():  # each by itself: one may have been made from another
                own = [None if x is None else x.view_as(x) for x in ctx.saved_tensors]
                return None, None, *_gradients(ctx.plain(*own), own, grads, create_graph=True)
        return None, None, *_gradients(ctx.results, ctx.own, grads, retain_graph=True)


def _gradients(
    results: tuple[Tensor, ...], own: list[Tensor | None], grads: tuple[Tensor, ...], **options: bool
) -> list[Tensor | None]:
    """The gradients of those of `own` that want one."""
    taken = [x for x in own if x is not None and x.requires_grad]
    found = iter(torch.autograd.grad(results, taken, grads, materialize_grads=True, **options))
    return [next(found) if x is not None and x.requires_grad else None for x in own]
