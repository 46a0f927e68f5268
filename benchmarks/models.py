"""Whole models of equal width: a training step's time and memory, and how both grow with the length.

    python -m benchmarks.models [--threads 2] [--rounds 3] [--device cuda]

Four layers of the published LRA text shape (D 128, d_qk 64, d_hidden 256, W 128), one row, float32, causal.
The routers of SeqBoat are set so that the wanted share of elements activates attention.
"""

import argparse
from collections.abc import Callable

import torch
from torch import nn

from benchmarks.layer import activate
from benchmarks.measure import compare, peak_memory
from sma.architectures import gau_always, mega, mega_chunk, seqboat, transformer
from sma.architectures.models.sequence import SequenceModel

VOCABULARY, D_MODEL, N_LAYERS = 256, 128, 4
LENGTHS = (4096, 16384)
SIZES = {"vocab_size": VOCABULARY, "d_model": D_MODEL, "n_layers": N_LAYERS}
MODELS: dict[str, Callable[[int], SequenceModel]] = {
    "seqboat, 10 % active": lambda length: _seqboat(length, 0.1),
    "seqboat, 30 % active": lambda length: _seqboat(length, 0.3),
    "gau_always": lambda length: gau_always(**SIZES).build(),
    "mega_chunk": lambda length: mega_chunk(**SIZES, chunk=128).build(),
    "mega": lambda length: mega(**SIZES, max_positions=length).build(),
    "transformer": lambda length: transformer(**SIZES, max_positions=length).build(),
}
QUADRATIC = {"mega": 8192}  # longer rows take minutes and tens of gigabytes


def tokens(length: int) -> torch.Tensor:
    return torch.randint(VOCABULARY, (1, length), generator=torch.Generator().manual_seed(0))


def _seqboat(length: int, share: float) -> SequenceModel:
    model = seqboat(**SIZES).build()
    with torch.no_grad():
        x = model.embedding(tokens(length))
        for block in model.blocks:
            activate(block, share, x)
            x = block(x)
    return model


def step(name: str, length: int, threads: int, device: str) -> Callable[[], None]:
    """A training step of a language model on one row."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    model = MODELS[name](length).train().to(device)
    row = tokens(length).to(device)

    def run() -> None:
        model.zero_grad(set_to_none=True)
        logits = model(row)[0, :-1]
        nn.functional.cross_entropy(logits, row[0, 1:]).backward()

    return run


def report(threads: int, rounds: int, device: str) -> list[str]:
    """The table, as lines of Markdown."""
    heads = [f"L {length}: time | memory" for length in LENGTHS]
    lines = [f"| model | {' | '.join(heads)} | growth of time | of memory |", "| --- " * 7 + "|"]
    figures: dict[str, list[tuple[float, int] | None]] = {name: [] for name in MODELS}
    for length in LENGTHS:
        cases = {name: (name, length, threads, device) for name in MODELS}
        cases = {name: case for name, case in cases.items() if length <= QUADRATIC.get(name, length)}
        timings = compare({name: step(*case) for name, case in cases.items()}, rounds=rounds)
        for name, row in figures.items():
            measured = name in cases
            row.append((timings[name].median, peak_memory(step, *cases[name])) if measured else None)
    for name, row in figures.items():
        cells = [f"{f[0]:.3f} s | {f[1] / 2**20:,.0f} MB" if f else "not run | not run" for f in row]
        if row[-1] is None:
            growth = "- | -"
        else:
            growth = " | ".join(f"{last / first:.1f} x" for first, last in zip(*row, strict=True))
        lines.append(f"| {name} | {' | '.join(cells)} | {growth} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    print("\n".join(report(options.threads, options.rounds, options.device)))


if __name__ == "__main__":
    main()
