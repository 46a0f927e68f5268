"""Everything that only a GPU can tell, in one command of under five minutes, written to a folder.

    python -m benchmarks.gpu_proof [--out gpu-proof] [--reference /path/to/SeqBoat]

GPU tests, `sma doctor`, kernels against plain torch at real sizes with times and memory, and from 8K to
64K elements the models of docs/performance.md, and layers beside those of other packages that are
installed. Without a GPU it says so in one line.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from pathlib import Path

import torch

from benchmarks.models import MODELS, QUADRATIC, step
from benchmarks.peer_layers import LAYERS, layer_step
from benchmarks.peers import LOOP, layers
from sma.modules import kernel_backend
from sma.modules.kernels.estimates import attention_work, recurrence_work, scan_work
from sma.training.inspection.backends import OPERATIONS, relative_difference

HERE = Path(__file__).parent
LENGTHS = (8192, 16384, 32768, 65536)
PEERS = {"mamba2": ("fla.layers", "Mamba2"), "gated linear attention": ("fla.layers", "GatedLinearAttention")}
"""Layers of flash-linear-attention, where it is installed."""
PATIENCE = 2.0
"""Seconds of a peer's step, after which its longer rows are not run."""


def milliseconds(run: Callable[[], object], rounds: int = 5) -> float:
    """The best of some rounds, after one that compiles."""
    times = []
    for _ in range(rounds + 1):
        torch.cuda.synchronize()
        start = time.perf_counter()
        run()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return 1e3 * min(times[1:])


def peak(run: Callable[[], object]) -> float:
    """MiB of memory at the peak of a run."""
    torch.cuda.reset_peak_memory_stats()
    run()
    return torch.cuda.max_memory_allocated() / 2**20


def expected(operation: str, length: int) -> float:
    """Milliseconds at an H100's limits; a chip of another kind scales them."""
    from sma.modules.kernels.cubins import CHIPS

    works = {
        "attention": [
            attention_work(length, 2, 64, 64, 128, torch.float32, backward=b) for b in (False, True)
        ],
        "recurrence": [recurrence_work(length, 128, 16, complex=False, backward=b) for b in (False, True)],
        "scan": [scan_work(length, 2, 64, 16, backward=b) for b in (False, True)],
    }
    return 1e3 * sum(work.seconds(CHIPS[90]) for work in works[operation])


def kernel_rows() -> Iterator[str]:
    """Kernels against plain torch: difference, time and memory of a forward and a backward pass."""
    yield "| operation | L | difference | plain | triton | H100 limits | memory of plain | of triton |"
    yield "| --- " * 8 + "|"
    device, dtype = torch.device("cuda"), torch.float32
    for operation, run in OPERATIONS.items():
        for length in LENGTHS:
            found = {}
            for backend in ("plain", "triton"):
                with kernel_backend(backend):
                    results = run(length, device, dtype)
                    times = milliseconds(lambda run=run, length=length: run(length, device, dtype))
                    memory = peak(lambda run=run, length=length: run(length, device, dtype))
                    found[backend] = results, times, memory
            difference = relative_difference(found["triton"][0], found["plain"][0])
            cells = [f"{found[b][1]:.2f} ms" for b in found] + [f"{expected(operation, length):.2f} ms"]
            cells += [f"{found[b][2]:,.0f} MiB" for b in found]
            yield f"| {operation} | {length:,} | {difference:.1e} | {' | '.join(cells)} |"


def model_rows() -> Iterator[str]:
    """Training steps of the models of docs/performance.md: tokens per second and memory."""
    yield "| model | L | tokens per second | memory |"
    yield "| --- " * 4 + "|"
    for name in MODELS:
        for length in LENGTHS:
            if length > QUADRATIC.get(name, length):
                continue
            try:
                run = step(name, length, 2, "cuda")
                seconds = milliseconds(run, rounds=3) / 1e3
                yield f"| {name} | {length:,} | {length / seconds:,.0f} | {peak(run):,.0f} MiB |"
            except torch.cuda.OutOfMemoryError:
                yield f"| {name} | {length:,} | out of memory | |"
            torch.cuda.empty_cache()


def peer_rows(reference: Path | None) -> Iterator[str]:
    """Layers of this project and of others, of width 128 in float32; fla's are of 512 in bfloat16.

    Layers that loop over elements are left out, and longer rows where a step took longer than `PATIENCE`.
    """
    yield "| layer | L | forward and backward | tokens per second | memory |"
    yield "| --- " * 5 + "|"
    loops = {name for name, peer in layers().peers.items() if LOOP in peer.not_run.values()}
    names = (*(name for name in LAYERS if name not in loops), *(["published SeqBoat"] if reference else []))
    makers = {name: partial(layer_step, 1, name, reference=reference, device="cuda") for name in names}
    makers |= {name: partial(fla_step, *which) for name, which in PEERS.items()}
    for name, make in makers.items():
        for length in LENGTHS:
            try:
                run = make(length=length)
                time = milliseconds(run, rounds=3)
                memory = peak(run)
            except Exception as error:  # not installed, of another version, or out of memory
                yield f"| {name} | {length:,} | {type(error).__name__} | | |"
                break
            yield f"| {name} | {length:,} | {time:.2f} ms | {1e3 * length / time:,.0f} | {memory:,.0f} MiB |"
            if time > 1e3 * PATIENCE:
                break
            torch.cuda.empty_cache()


def fla_step(module: str, kind: str, *, length: int) -> Callable[[], None]:
    """A training step of a layer of flash-linear-attention."""
    layer = getattr(import_module(module), kind)(hidden_size=512).cuda().bfloat16()
    x = torch.randn(1, length, 512, device="cuda", dtype=torch.bfloat16, requires_grad=True)
    return lambda: layer(x)[0].sum().backward()


def command(*arguments: str, seconds: int) -> str:
    """The output of a command that is stopped after some seconds."""
    try:
        done = subprocess.run(
            [sys.executable, *arguments], capture_output=True, text=True, cwd=HERE.parent, timeout=seconds
        )
        return done.stdout + done.stderr + f"\nexit code {done.returncode}\n"
    except subprocess.TimeoutExpired as error:
        return f"{(error.stdout or b'').decode()}\nstopped after {seconds} s\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("gpu-proof"))
    parser.add_argument("--reference", type=Path, help="the published code")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("gpu-proof: torch finds no CUDA device here, so there is nothing to prove")
        return
    options.out.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + 280
    parts: dict[str, Callable[[], Iterator[str]]] = {
        "doctor.txt": lambda: iter([command("-m", "sma.training.cli.app", "doctor", seconds=60)]),
        "kernels.md": kernel_rows,
        "tests.txt": lambda: iter([command("-m", "pytest", "-q", "-m", "gpu", "tests", seconds=100)]),
        "models.md": model_rows,
        "peers.md": lambda: peer_rows(options.reference),
    }
    for name, rows in parts.items():
        with (options.out / name).open("w") as file:
            for row in rows():
                print(row, file=file, flush=True)
                print(row)
                if time.monotonic() > deadline:
                    print("stopped: five minutes are over", file=file)
                    break
    print(f"wrote {options.out}")


if __name__ == "__main__":
    main()
