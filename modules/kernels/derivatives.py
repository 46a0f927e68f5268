"""Second derivatives of kernels, which have first ones only."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from typing_extensions import override

from sma.modules.functional import transformed, without_autocast

Tensors = tuple[Tensor, ...]


class Kernel(NamedTuple):
    """A function of some tensors, of which some may be None, by a kernel.

    Attributes:
        n_results: how many of what `forward` returns are its results.
        forward: from the tensors to the results, followed by what `backward` needs.
        backward: from the gradients of the results, all that `forward` returned, and the tensors, to the
            gradients of the tensors, in their order.
        plain: from the tensors to the results, by operations that torch differentiates to any order.
    """

    n_results: int
    forward: Callable[..., Tensors]
    backward: Callable[[Tensors, Tensors, tuple[Any, ...]], tuple[Tensor | None, ...]]
    plain: Callable[..., Tensors]


def run_kernel(kernel: Kernel, *tensors: Tensor | None) -> Tensors:
    """The results. Gradients are those of `plain` where they shall be differentiated again.

    In compiled code the operation's own registered gradient serves instead of `backward`.
    """
    needed = torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in tensors)
    if not needed or torch.compiler.is_compiling():
        return kernel.forward(*tensors)[: kernel.n_results]
    results: Tensors = _Differentiable.apply(kernel, *tensors)  # type: ignore[no-untyped-call]
    return results


class _Differentiable(torch.autograd.Function):
    @staticmethod
    @override
    def forward(ctx: Any, kernel: Kernel, *tensors: Tensor | None) -> Tensors:
        returned = kernel.forward(*tensors)
        ctx.kernel, ctx.n_tensors = kernel, len(tensors)
        ctx.save_for_backward(*tensors, *returned)
        return returned[: kernel.n_results]

    @staticmethod
    @override
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors  # read once: checkpointing computes again what is read
        tensors, returned = saved[: ctx.n_tensors], saved[ctx.n_tensors :]
        batched = any(torch._C._functorch.is_legacy_batchedtensor(grad) for grad in grads)
        if torch.is_grad_enabled() or transformed() or batched:
            return None, *_plain_gradients(ctx.kernel, tensors, grads)
        with without_autocast(grads[0].device):
            found = ctx.kernel.backward(grads, returned, tensors)
        return None, *(
            g if needed else None for g, needed in zip(found, ctx.needs_input_grad[1:], strict=True)
        )


def _plain_gradients(
    kernel: Kernel, tensors: tuple[Tensor | None, ...], grads: Tensors
) -> list[Tensor | None]:
    """The gradients of each tensor by itself: one may have been made from another."""
    with torch.enable_grad():
        own = [None if x is None else x.view_as(x) for x in tensors]
        taken = [x for x in own if x is not None and x.requires_grad]
        results = kernel.plain(*own)
        found = iter(torch.autograd.grad(results, taken, grads, create_graph=True, materialize_grads=True))
    return [next(found) if x is not None and x.requires_grad else None for x in own]
