"""Triton kernels for CUDA, each beside the plain path that it equals. triton is imported on first use."""

from sma.modules.kernels.choice import kernel_backend, switch_off, switched_off

__all__ = ["kernel_backend", "switch_off", "switched_off"]
