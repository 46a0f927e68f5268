"""A kernel that cubes, beside plain torch."""

import torch
from torch.utils.checkpoint import checkpoint

from sma.modules.kernels.derivatives import Kernel, run_kernel


def cube(calls):
    def forward(x, scale):
        return scale * x**3, x * x

    def backward(grads, returned, tensors):
        calls.append("backward")
        _, square = returned
        return 3 * tensors[1] * square * grads[0], (tensors[0] ** 3 * grads[0]).sum()

    def plain(x, scale):
        calls.append("plain")
        return (scale * x**3,)

    return Kernel(1, forward, backward, plain)


def test_first_derivatives_are_the_kernels_and_second_ones_those_of_plain_torch():
    calls = []
    x, scale = torch.tensor([1.0, 2.0], requires_grad=True), torch.tensor(2.0, requires_grad=True)
    (y,) = run_kernel(cube(calls), x, scale)
    of_x, of_scale = torch.autograd.grad(y.sum(), (x, scale), retain_graph=True)
    assert (of_x.tolist(), of_scale.item(), calls) == ([6.0, 24.0], 9.0, ["backward"])
    (of_x,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    assert torch.autograd.grad(of_x.sum(), x)[0].tolist() == [12.0, 24.0]
    assert calls == ["backward", "plain"]


def test_what_needs_no_gradient_gets_none():
    x, scale = torch.tensor([1.0, 2.0], requires_grad=True), torch.tensor(2.0)
    (y,) = run_kernel(cube([]), x, scale)
    y.sum().backward()
    assert x.grad.tolist() == [6.0, 24.0]
    assert scale.grad is None
    assert run_kernel(cube([]), x.detach(), scale)[0].grad_fn is None


def test_checkpointing_keeps_none_of_it():
    """All that is kept goes through the hooks of saved tensors."""
    kept = []
    x, scale = torch.tensor([1.0, 2.0], requires_grad=True), torch.tensor(2.0, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(
        lambda z: kept.append(z) or len(kept) - 1, kept.__getitem__
    ):
        (y,) = run_kernel(cube([]), x, scale)
    assert len(kept) == 4
    y.sum().backward()
    assert x.grad.tolist() == [6.0, 24.0]


def test_checkpointing_computes_again_what_the_backward_pass_reads():
    calls = []
    x, scale = torch.tensor([1.0, 2.0], requires_grad=True), torch.tensor(2.0, requires_grad=True)
    y = checkpoint(lambda x: run_kernel(cube(calls), x, scale)[0], x, use_reentrant=False)
    y.sum().backward()
    assert x.grad.tolist() == [6.0, 24.0]
    assert calls == ["backward"]
