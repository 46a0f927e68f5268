"""The gain of torch.compile: a SeqBoat language model with a fixed capacity, compiled and not.

    python -m benchmarks.compile [--threads 2] [--rounds 5]

A training step (forward and backward), float32. A layer has as many slots per row as its fullest row needs.
"""

import argparse
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch._inductor.exc import InductorError

import sma
from benchmarks.measure import compare
from sma import CapacityCompaction
from sma.architectures import SequenceModel, seqboat

VOCABULARY, D_MODEL, N_LAYERS = 256, 128, 2
SHAPES = [(4, 1024), (1, 4096)]


def language_model() -> SequenceModel:
    torch.manual_seed(0)
    return seqboat(vocab_size=VOCABULARY, d_model=D_MODEL, n_layers=N_LAYERS).build()


def fixed_capacity(tokens: Tensor) -> SequenceModel:
    """The same model with as many slots per layer as its fullest row needs."""
    model = language_model()
    with sma.record(model) as recording, torch.no_grad():
        model(tokens)
    for layer in recording.layers:
        slots = int(layer.received.max())
        model.get_submodule(layer.name).compaction = CapacityCompaction(max(slots, 1))
    return model


def step(model: SequenceModel, run: Callable[[Tensor], Tensor], tokens: Tensor) -> Callable[[], None]:
    def train() -> None:
        model.zero_grad(set_to_none=True)
        nn.functional.cross_entropy(run(tokens).flatten(0, 1), tokens.flatten()).backward()

    return train


def row(n_rows: int, length: int, rounds: int) -> str:
    """A line of the table."""
    tokens = torch.randint(VOCABULARY, (n_rows, length), generator=torch.Generator().manual_seed(0))
    packed, fixed = language_model(), fixed_capacity(tokens)
    torch._dynamo.reset()
    compiled = torch.compile(fixed, fullgraph=True)
    runs = {
        "packed": step(packed, packed, tokens),
        "fixed": step(fixed, fixed, tokens),
        "compiled": step(fixed, compiled, tokens),
    }
    start = time.perf_counter()
    runs["compiled"]()
    compiling = time.perf_counter() - start
    torch.testing.assert_close(compiled(tokens), packed(tokens), rtol=1e-3, atol=1e-4)
    seconds = {name: timing.median for name, timing in compare(runs, rounds=rounds).items()}
    times = " | ".join(f"{seconds[name]:.3f} s" for name in runs)
    gains = " | ".join(f"{seconds[name] / seconds['compiled']:.2f} x" for name in ("packed", "fixed"))
    return f"| B {n_rows}, L {length} | {times} | {gains} | {compiling:.0f} s |"


def report(threads: int, rounds: int) -> list[str]:
    """The table, as lines of Markdown."""
    torch.set_num_threads(threads)
    head = "| | packed | fixed capacity | compiled | gain on packed | on fixed capacity | compiling |"
    try:
        return [head, "| --- " * 7 + "|", *(row(*shape, rounds) for shape in SHAPES), ""]
    except InductorError as error:
        return [f"Not measured, since nothing can be compiled here: {str(error).splitlines()[0]}", ""]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    print("\n".join(report(options.threads, options.rounds)))


if __name__ == "__main__":
    main()
