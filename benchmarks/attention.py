"""GAU's training step against the time of its matrix products alone.

    python -m benchmarks.attention [--bidirectional] [--window 128] [--threads 2] [--rounds 10]

Everything is active; forward and backward in float32: time, and the memory it needs on top of what it finds.
"""

import argparse
from collections.abc import Callable
from typing import Any

import torch

from benchmarks.measure import compare, peak_memory, table, training_step
from sma import PackedCompaction
from sma.modules import GAU, LearnedBias, RankBias, RelativePosition, Rotary
from sma.modules.attention.tiles import window_tiles

SHAPES = [(4, 4096), (1, 16384), (1, 65536)]


def position(kind: str, options: argparse.Namespace, length: int) -> RelativePosition:
    if kind == "rotary":
        return Rotary(options.d_qk)
    if kind == "rank":
        return RankBias(options.window, bidirectional=options.bidirectional)
    return LearnedBias(length)


def step(
    options: argparse.Namespace, kind: str, n_rows: int, length: int, **others: Any
) -> Callable[[], None]:
    """A GAU's training step."""
    torch.manual_seed(0)
    torch.set_num_threads(options.threads)
    arguments = {"d_qk": options.d_qk, "window": options.window, "bidirectional": options.bidirectional}
    gau = GAU(options.d_model, position=position(kind, options, length), **{**arguments, **others})
    x, active = torch.randn(n_rows, length, options.d_model), torch.ones(n_rows, length, dtype=torch.bool)
    elements = PackedCompaction().compress(x, active)
    return training_step(gau, elements.x, lambda x: gau(elements.with_x(x)))


def products(options: argparse.Namespace, n: int) -> Callable[[], None]:
    """The matrix products of such a step and nothing else: three per projection, six per tile."""
    gau = GAU(options.d_model, d_qk=options.d_qk)
    projections = [
        (torch.randn(n, part.in_features), torch.randn(n, part.out_features), part.weight.detach())
        for part in (gau.input, gau.output)
    ]
    row = torch.zeros(n, dtype=torch.long)
    tiles = window_tiles(row, options.window, bidirectional=options.bidirectional)
    q, v = torch.randn(n, options.d_qk), torch.randn(n, gau.d_hidden)

    def run() -> None:
        for x, grad, weight in projections:
            x @ weight.T, grad @ weight, grad.T @ x
        for tile in tiles:
            queries, keys = tile.queries(q, q.dtype), tile.keys(q, q.dtype)
            grads, values = tile.queries(v, v.dtype), tile.keys(v, v.dtype)
            weights = queries @ keys.mT
            weights @ values, grads @ values.mT, weights.mT @ grads, weights @ keys, weights.mT @ queries

    return run


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--d-model", type=int, default=128)
    parser.add_argument("--d-qk", type=int, default=64)
    parser.add_argument("--window", type=int, default=128)
    parser.add_argument("--bidirectional", action="store_true")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"torch {torch.__version__}, {options.threads} threads, D {options.d_model}, W {options.window}")
    for n_rows, length in SHAPES:
        runs = {"matrix products alone": products(options, n_rows * length)}
        for kind in ("rotary", "rank", "learned"):
            runs[f"softmax, {kind}"] = step(options, kind, n_rows, length)
        for attention in ("relu2", "laplace"):
            runs[f"{attention}, rotary"] = step(options, "rotary", n_rows, length, attention=attention)
        print(f"\nB {n_rows}, L {length}")
        print(table(compare(runs, rounds=options.rounds)))
        print(
            f"memory {peak_memory(step, options, 'rotary', n_rows, length) / 2**20:.0f} MiB (softmax, rotary)"
        )


if __name__ == "__main__":
    main()
