"""Windowed attention alone against the package local-attention, where that is installed.

    python benchmarks/windows.py [--threads 2] [--rounds 10] [--length 16384]

Forward and backward in float32, causal, everything active: time, and the memory it needs on top of what it
finds. local-attention sees a window and the rest of its block, with `exact_windowsize` the window alone, as
ours. Its tensors of 32 MiB and more get fresh pages from glibc at every step, which is part of its time.
"""

import argparse
import importlib.util
from collections.abc import Callable

import torch
from measure import compare, peak_memory, table

from sma import PackedCompaction
from sma.modules import windowed_attention

SHAPES = [(1, 128, 128), (2, 64, 128), (8, 64, 128), (1, 128, 512), (2, 64, 512)]
"""Heads, their width, window."""


def ours(threads: int, length: int, heads: int, width: int, window: int) -> Callable[[], object]:
    torch.set_num_threads(threads)
    x, active = torch.zeros(1, length, 1), torch.ones(1, length, dtype=torch.bool)
    elements = PackedCompaction().compress(x, active)
    return _step(lambda q, k, v: windowed_attention(q, k, v, elements, window=window), (length, heads, width))


def theirs(
    threads: int, length: int, heads: int, width: int, window: int, exact: bool
) -> Callable[[], object]:
    from local_attention import LocalAttention

    torch.set_num_threads(threads)
    attention = LocalAttention(window, causal=True, exact_windowsize=exact, use_rotary_pos_emb=False)
    return _step(attention, (1, heads, length, width))


def _step(attention: Callable[..., torch.Tensor], shape: tuple[int, ...]) -> Callable[[], object]:
    torch.manual_seed(0)
    inputs = [torch.randn(shape, requires_grad=True) for _ in range(3)]
    grad = torch.randn(shape)
    return lambda: torch.autograd.grad(attention(*inputs), inputs, grad)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--length", type=int, default=16384)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    installed = importlib.util.find_spec("local_attention") is not None
    print(f"torch {torch.__version__}, {options.threads} threads, L {options.length}")
    for heads, width, window in SHAPES:
        shape = (options.threads, options.length, heads, width, window)
        contenders = {"windowed_attention": (ours, *shape)}
        if installed:
            contenders["local-attention"] = (theirs, *shape, False)
            contenders["local-attention, exact window"] = (theirs, *shape, True)
        print(f"\n{heads} heads of {width}, W {window}")
        steps = {name: make(*arguments) for name, (make, *arguments) in contenders.items()}
        print(table(compare(steps, rounds=options.rounds)))
        for name, (make, *arguments) in contenders.items():
            print(f"{name:<34}{peak_memory(make, *arguments) / 2**20:>8.0f}MiB")


if __name__ == "__main__":
    main()
