"""Time and memory for the benchmarks.

Contenders take turns, so that a busy moment of the machine hits all of them. Memory is measured in a fresh
process.
"""

import ctypes
import gc
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Timing:
    """Seconds per call: the best says what the code can do, the median what the machine let it do."""

    best: float
    median: float


def compare(
    contenders: Mapping[str, Callable[[], object]], *, rounds: int = 10, patience: float = float("inf")
) -> dict[str, Timing]:
    """Time every contender once per round, after two rounds that do not count.

    Whoever has had a round that counts, and `patience` seconds in all, is left out of the others.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds + 2):
        for name, run in contenders.items():
            if len(seconds[name]) > 2 and sum(seconds[name]) > patience:
                continue
            _wait()
            start = time.perf_counter()
            run()
            _wait()
            seconds[name].append(time.perf_counter() - start)
    return {name: Timing(min(times[2:]), median(times[2:])) for name, times in seconds.items()}


def training_step(
    module: nn.Module, x: Tensor, call: Callable[[Tensor], Tensor] | None = None
) -> Callable[[], None]:
    """Forward and backward of `module` (or of `call`) on x, with gradients to x and to every parameter."""
    leaf = x.detach().clone().requires_grad_()
    weight = torch.randn_like(x)

    def run() -> None:
        module.zero_grad(set_to_none=True)
        leaf.grad = None
        ((call or module)(leaf) * weight).sum().backward()

    return run


def table(timings: Mapping[str, Timing]) -> str:
    """The timings in milliseconds, one contender a line, relative to the first."""
    first = next(iter(timings.values()))
    lines = [f"{'':<34}{'best':>10}{'median':>10}{'relative':>10}"]
    for name, timing in timings.items():
        relative = timing.median / first.median
        lines.append(f"{name:<34}{1e3 * timing.best:>8.1f}ms{1e3 * timing.median:>8.1f}ms{relative:>10.2f}")
    return "\n".join(lines)


def peak_memory(make: Callable[..., Callable[[], object]], *arguments: Any) -> int:
    """Bytes of memory that `make(*arguments)()` needs at its peak on top of what `make` left.

    The GPU's memory if `make` used one, otherwise the CPU's (Linux with glibc). Both run in a fresh process,
    so `make` must be a function at the top level of a module.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(_peak, make, arguments).result()


def _peak(make: Callable[..., Callable[[], object]], arguments: tuple[Any, ...]) -> int:
    run = make(*arguments)
    if torch.cuda.is_initialized():
        torch.cuda.reset_peak_memory_stats()
        allocated = torch.cuda.memory_allocated()
        run()
        return torch.cuda.max_memory_allocated() - allocated
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # or the step would reuse what is free already
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    before = _resident("VmRSS")
    run()
    return _resident("VmHWM") - before


def _resident(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
