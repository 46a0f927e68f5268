"""The cost of a padded batch against that of its real elements.

    python -m benchmarks.padding [--threads 2] [--rounds 7]

A training step of one block, D 128, on rows of random length, padded to the longest; and on as many real
elements in full rows, whose time is scaled to exactly as many. The target is 1.2 times. Beside it the time of
the same batch when padding is computed like real elements.
"""

import argparse
from collections.abc import Callable

import torch
from torch import Tensor, nn

from benchmarks.layer import D_MODEL, our_layer
from benchmarks.measure import compare, training_step
from sma.architectures import Residual
from sma.architectures.blocks import packing
from sma.modules import S4D, LayerNorm, SelectiveSSM

SHAPES = [(16, 1024), (8, 4096)]


def blocks(length: int) -> dict[str, nn.Module]:
    x = torch.randn(4, length, D_MODEL)
    return {
        "SeqBoat, 10% active": our_layer("rotary", False, length, 0.1, x),
        "SeqBoat, bidirectional, 10% active": our_layer("learned", True, length, 0.1, x),
        "SeqBoat, 100% active": our_layer("rotary", False, length, 1.0, x),
        "S4D": Residual([S4D(D_MODEL, d_state=16)], norm=LayerNorm(D_MODEL)),
        "SelectiveSSM": Residual([SelectiveSSM(D_MODEL)], norm=LayerNorm(D_MODEL)),
    }


def with_padding(step: Callable[[], None]) -> Callable[[], None]:
    """The step, computing padding as well."""

    def run() -> None:
        least, packing._LEAST = packing._LEAST, 2**62
        try:
            step()
        finally:
            packing._LEAST = least

    return run


def row(name: str, module: nn.Module, lengths: Tensor, rounds: int) -> str:
    """A line of the table."""
    length = int(lengths.max())
    mask = torch.arange(length) < lengths[:, None]
    batch = torch.randn(*mask.shape, D_MODEL)
    full = torch.randn(max(1, round(int(lengths.sum()) / length)), length, D_MODEL)
    step = training_step(module, batch, lambda x: module(x, mask))
    runs = {"real": training_step(module, full), "batch": step, "padding": with_padding(step)}
    timings = compare(runs, rounds=rounds)
    real = timings["real"].median * int(lengths.sum()) / (full.shape[0] * length)
    batch_ratio, padding_ratio = (timings[which].median / real for which in ("batch", "padding"))
    shape = f"{len(lengths)} x {length}, {1 - mask.float().mean():.0%}"
    return f"| {name} | {shape} | {1e3 * real:.1f} ms | {batch_ratio:.2f} | {padding_ratio:.2f} |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print("| block | rows, share of padding | real elements | batch, target 1.2 | padding computed too |")
    print("| --- " * 5 + "|")
    for n_rows, length in SHAPES:
        torch.manual_seed(0)
        lengths = torch.randint(1, length + 1, (n_rows,))
        lengths[0] = length
        for name, module in blocks(length).items():
            print(row(name, module, lengths, options.rounds), flush=True)


if __name__ == "__main__":
    main()
