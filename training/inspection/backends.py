"""Comparison of the backends of attention, recurrences and scans with plain torch on this machine."""

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from sma.compaction import PackedCompaction
from sma.modules import Modes, kernel_backend, switch_off, switched_off, windowed_attention
from sma.modules.kernels.choice import why_not_on
from sma.modules.ssm.kernel_paths import convolve_modes, scan_selectively

_LENGTH = {"cpu": 512}
_LENGTH_ELSEWHERE = 8192
_INTERPRETED = 24  # elements; the interpreter takes a millisecond per operation
_TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 4e-2}


@dataclass(frozen=True)
class Finding:
    """One backend of one operation on one device.

    Attributes:
        operation: its name, as `switch_off` knows it.
        device: where.
        dtype: of the tensors.
        backend: plain or triton.
        difference: of results and gradients from plain torch in float64, relative to the largest entry;
            None: it did not run.
        seconds: of a forward and a backward pass, the best of three.
        reason: why it cannot be used; None: it can.
        used: whether it is what computes by default.
    """

    operation: str
    device: str
    dtype: torch.dtype
    backend: str
    difference: float | None
    seconds: float | None
    reason: str | None
    used: bool


def find_backends() -> Iterator[Finding]:
    """Compare usable backends with plain torch, time them, and switch off what disagrees, with a warning."""
    devices = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    for device in map(torch.device, devices):
        for operation, run in OPERATIONS.items():
            half = [torch.bfloat16] if operation == "attention" and device.type == "cuda" else []
            for dtype in (torch.float32, *half):
                yield from _of_operation(operation, run, device, dtype)


def _of_operation(operation: str, run: "Run", device: torch.device, dtype: torch.dtype) -> Iterator[Finding]:
    length = _LENGTH.get(device.type, _LENGTH_ELSEWHERE)
    if device.type == "cpu" and why_not_on(device) is None:
        length = _INTERPRETED
    with kernel_backend("plain"):
        exact = run(length, device, torch.float64)
    found = [_try(operation, run, device, dtype, backend, length, exact) for backend in ("plain", "triton")]
    kernel = found[1].reason is None and device.type == "cuda"
    for finding in found:
        yield Finding(**{**vars(finding), "used": (finding.backend == "triton") == kernel})


def _try(
    operation: str,
    run: "Run",
    device: torch.device,
    dtype: torch.dtype,
    backend: str,
    length: int,
    exact: list[Tensor],
) -> Finding:
    name = f"{device.type}:{device.index}" if device.index is not None else device.type
    reason = None if backend == "plain" else why_not_on(device) or switched_off().get(operation)
    if reason is not None:
        return Finding(operation, name, dtype, backend, None, None, reason, False)
    try:
        with kernel_backend(backend):
            difference = relative_difference(run(length, device, dtype), exact)
            times = [_seconds(lambda: run(length, device, dtype), device) for _ in range(3)]
    except Exception as error:  # a driver or compiler may fail in any way, and plain torch still serves
        if backend == "plain":
            raise
        reason = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        switch_off(operation, reason)
        return Finding(operation, name, dtype, backend, None, None, reason, False)
    if backend == "triton" and not difference <= _TOLERANCE[dtype]:
        reason = f"differs from plain torch by {difference:.1e}"
        switch_off(operation, f"{reason} on {name} in {dtype}")
    return Finding(operation, name, dtype, backend, difference, min(times), reason, False)


def relative_difference(got: list[Tensor], expected: list[Tensor]) -> float:
    """The largest difference, relative to the largest entry of each tensor; infinite where NaN is."""
    differences = [0.0]
    for a, b in zip(got, expected, strict=True):
        difference = float((a.detach().double() - b.detach().double()).abs().max() / b.detach().abs().max())
        differences.append(difference if difference == difference else float("inf"))
    return max(differences)


def _seconds(run: Callable[[], object], device: torch.device) -> float:
    def now() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter()

    start = now()
    run()
    return now() - start


def _leaves(device: torch.device, dtype: torch.dtype, *shapes: tuple[int, ...]) -> list[Tensor]:
    """The same normal numbers for every device and dtype, with gradients, as bfloat16 has them."""
    generator = torch.Generator().manual_seed(0)
    drawn = [torch.randn(shape, generator=generator).bfloat16() for shape in shapes]
    return [x.to(device, dtype).requires_grad_() for x in drawn]


def _with_gradients(y: Tensor, leaves: list[Tensor]) -> list[Tensor]:
    return [y, *torch.autograd.grad(y, leaves, torch.ones_like(y))]


def _attention(length: int, device: torch.device, dtype: torch.dtype) -> list[Tensor]:
    active = torch.ones(1, length, dtype=torch.bool, device=device)
    elements = PackedCompaction().compress(torch.zeros(1, length, 1, device=device), active)
    q, k, v = leaves = _leaves(device, dtype, (length, 2, 64), (length, 2, 64), (length, 2, 64))
    return _with_gradients(windowed_attention(q, k, v, elements, window=min(128, length)), leaves)


def _recurrence(length: int, device: torch.device, dtype: torch.dtype) -> list[Tensor]:
    x, decay, gain = leaves = _leaves(device, dtype, (1, length, 128), (128, 16), (128, 16))
    y = convolve_modes(x, Modes(-decay.abs(), gain), skip=x.new_zeros(128))
    return _with_gradients(y, leaves)


def _scan(length: int, device: torch.device, dtype: torch.dtype) -> list[Tensor]:
    shapes = (1, length, 2, 64), (1, length, 2), (1, length, 16), (1, length, 16)
    x, decay, write, read = leaves = _leaves(device, dtype, *shapes)
    return _with_gradients(scan_selectively(x, -decay.abs(), write, read)[0], leaves)


Run = Callable[[int, torch.device, torch.dtype], list[Tensor]]
OPERATIONS: dict[str, Run] = {"attention": _attention, "recurrence": _recurrence, "scan": _scan}
"""What has more than one backend: both passes over some elements, and all that they give."""


def threads() -> str:
    """How many cores there are, and how many threads torch takes."""
    return f"{os.cpu_count()} cores, {torch.get_num_threads()} threads"
