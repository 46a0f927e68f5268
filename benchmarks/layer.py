"""SeqBoat's layer against the published one, and against its own matrix products.

    python -m benchmarks.layer [--reference /path/to/SeqBoat] [--threads 2] [--rounds 9]

One training step (forward and backward), float32, the same weights and inputs on both sides; the router's
bias is set so that the wanted share of elements activates attention.
"""

import argparse
import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor, nn

import sma
from benchmarks.measure import Timing, compare, peak_memory, training_step
from sma.architectures import SeqBoat
from sma.architectures.published.load import layer_from_reference
from sma.architectures.specs.attention import LearnedBiasSpec, RotarySpec

D_MODEL, D_QK, D_HIDDEN, WINDOW, D_STATE = 128, 64, 256, 128, 16
AGAINST_PUBLISHED = [  # positions, bidirectional, L, B, share of active elements, target
    ("learned", True, 4096, 4, 0.1, "10 x"),
    ("learned", True, 4096, 4, 1.0, "4 x"),
    ("learned", True, 16384, 1, 0.1, "40 x, 1/15 of the memory"),
    ("rotary", False, 16384, 1, 0.1, "5 x"),
    ("rotary", False, 16384, 1, 1.0, "5 x"),
]
LENGTHS = (4096, 8192, 16384, 32768, 65536)


def published_module(folder: Path) -> ModuleType:
    """The published standalone file, imported from where the user has it."""
    spec = importlib.util.spec_from_file_location("standalone_seqboat", folder / "standalone_seqboat.py")
    if spec is None or spec.loader is None or not (folder / "standalone_seqboat.py").exists():
        raise SystemExit(f"no standalone_seqboat.py in {folder}; pass the folder of the published code")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def inputs(n_rows: int, length: int) -> Tensor:
    torch.manual_seed(1)
    return torch.randn(n_rows, length, D_MODEL)


def our_layer(positions: str, bidirectional: bool, length: int, share: float, x: Tensor) -> SeqBoat:
    torch.manual_seed(0)
    layer = SeqBoat(
        D_MODEL,
        d_qk=D_QK,
        d_hidden=D_HIDDEN,
        window=WINDOW,
        d_state=D_STATE,
        bidirectional=bidirectional,
        position=RotarySpec() if positions == "rotary" else LearnedBiasSpec(max_positions=length),
    )
    activate(layer, share, x)
    return layer


@torch.no_grad()
def activate(layer: nn.Module, share: float, x: Tensor) -> None:
    """Set the router's bias so that this share of the elements of x is active."""
    router = next(module for module in layer.modules() if isinstance(module, sma.Router))
    router.projection.bias.zero_()
    with sma.record() as recording:
        layer(x)
    confidence = recording.layers[0].routing.confidence.double()
    margin = (torch.logit(confidence) * router.log_temperature.double().exp()).flatten()
    threshold = margin.sort().values[min(int((1 - share) * len(margin)), len(margin) - 1)]
    router.projection.bias[1] -= threshold - (1e-3 if share == 1 else 0) if share > 0 else 1e6


def published_layer(folder: Path, positions: str, bidirectional: bool, length: int) -> nn.Module:
    torch.manual_seed(0)
    return published_module(folder).SeqBoatLayer(**published_config(positions, bidirectional, length)["ctor"])


def published_config(positions: str, bidirectional: bool, length: int) -> dict[str, object]:
    return {
        "kind": "standalone_layer",
        "ctor": {
            "embed_dim": D_MODEL,
            "zdim": D_QK,
            "hdim": D_HIDDEN,
            "ndim": D_STATE,
            "attention_activation": "softmax",
            "bidirectional": bidirectional,
            "window_size": WINDOW,
            "rel_pos_bias": "rotary" if positions == "rotary" else "simple",
            "max_positions": length,
        },
    }


def pair(folder: Path, positions: str, bidirectional: bool, length: int, share: float, x: Tensor) -> tuple:
    """The published layer, and ours with its weights; both activate the same elements."""
    theirs = published_layer(folder, positions, bidirectional, length)
    config = published_config(positions, bidirectional, length)
    ours = layer_from_reference(config, theirs.state_dict()).train()
    activate(ours, share, x)
    router = next(module for module in ours.modules() if isinstance(module, sma.Router))
    with torch.no_grad():
        theirs.hx_proj.bias[:2] = router.projection.bias
    return theirs, ours


def step(folder: Path | None, threads: int, which: str, *case) -> Callable[[], None]:
    """A training step of one side; the first argument of `case` starts at `positions`."""
    positions, bidirectional, length, n_rows, share = case
    torch.set_num_threads(threads)
    x = inputs(n_rows, length)
    if folder is None:
        return training_step(our_layer(positions, bidirectional, length, share, x), x)
    theirs, ours = pair(folder, positions, bidirectional, length, share, x)
    if which == "ours":
        return training_step(ours, x)
    return training_step(theirs, x, lambda x: theirs(x.transpose(0, 1)).transpose(0, 1))


def matrix_products(n_rows: int, length: int) -> Callable[[], None]:
    """The matrix products of a fully active layer alone, forward and backward: the floor of its time."""
    n = n_rows * length
    blocks, keys = n // WINDOW, 3 * WINDOW
    d_input = D_QK + 2 * D_HIDDEN
    shapes = [
        (1, n, D_MODEL, D_MODEL),  # the linear branch
        (1, n, D_MODEL, d_input),  # the GAU's input
        (1, n, D_HIDDEN, D_MODEL),  # its output
        (blocks, WINDOW, D_QK, keys),  # scores
        (blocks, WINDOW, keys, D_HIDDEN),  # weighted values
    ]
    operands = [(torch.randn(b, m, k), torch.randn(b, k, n), torch.randn(b, m, n)) for b, m, k, n in shapes]

    def run() -> None:
        for a, b, gradient in operands:
            torch.bmm(a, b)
            torch.bmm(gradient, b.transpose(1, 2))
            torch.bmm(a.transpose(1, 2), gradient)

    return run


def megabytes(n_bytes: int) -> str:
    return f"{n_bytes / 2**20:,.0f} MB"


def report(folder: Path | None, threads: int, rounds: int) -> list[str]:
    """The tables, as lines of Markdown."""
    torch.set_num_threads(threads)
    lines: list[str] = []
    if folder is None:
        lines += ["The published layer was not measured: no folder of its code was given.", ""]
    else:
        lines += ["| layer | active | published | sma | speed | target | memory |", "| --- " * 7 + "|"]
        for *case, target in AGAINST_PUBLISHED:
            lines.append(against_published(folder, threads, rounds, tuple(case), target))
        lines.append("")
    lines += activity(threads, rounds) + growth(threads, rounds)
    return lines


def against_published(folder: Path, threads: int, rounds: int, case: tuple, target: str) -> str:
    positions, bidirectional, length, n_rows, share = case
    timings = compare(
        {side: step(folder, threads, side, *case) for side in ("theirs", "ours")}, rounds=rounds
    )
    memory = {side: peak_memory(step, folder, threads, side, *case) for side in ("theirs", "ours")}
    theirs, ours = timings["theirs"].median, timings["ours"].median
    kind = f"{positions}, {'bidirectional' if bidirectional else 'causal'}, L {length} x B {n_rows}"
    saved = f"{megabytes(memory['theirs'])} -> {megabytes(memory['ours'])}"
    saved += f", 1/{memory['theirs'] / memory['ours']:.1f}"
    times = f"{theirs:.3f} s | {ours:.3f} s | {theirs / ours:.1f} x"
    return f"| {kind} | {share:.0%} | {times} | {target} | {saved} |"


def activity(threads: int, rounds: int) -> list[str]:
    """The cost of the routed part at 0, 10 and 100 % activity, and of its matrix products alone."""
    shares = (0.0, 0.1, 1.0)
    contenders = {
        f"{share}": step(None, threads, "ours", "learned", True, 4096, 4, share) for share in shares
    }
    timings: dict[str, Timing] = compare({**contenders, "products": matrix_products(4, 4096)}, rounds=rounds)
    none, tenth, all_ = (timings[f"{share}"].median for share in shares)
    floor = timings["products"].median
    return [
        "| learned, bidirectional, L 4096 x B 4 | time | target |",
        "| --- | --- | --- |",
        *(f"| {share:.0%} active | {timings[f'{share}'].median:.3f} s | |" for share in shares),
        f"| share of the routed part's cost at 10 % | {(tenth - none) / (all_ - none):.2f} | at most 0.15 |",
        f"| 100 % active / its matrix products alone ({floor:.3f} s) | {all_ / floor:.2f} | at most 2 |",
        "",
    ]


def growth(threads: int, rounds: int) -> list[str]:
    """Time and memory of a step as the length doubles."""
    lines = [
        "| causal, rotary, B 1, 20 % active | time | x (target 2.2) | memory | x (target 2.2) |",
        "| --- " * 5 + "|",
    ]
    cases = {str(length): ("rotary", False, length, 1, 0.2) for length in LENGTHS}
    timings = compare({n: step(None, threads, "ours", *case) for n, case in cases.items()}, rounds=rounds)
    before = None
    for length, case in cases.items():
        time = timings[length].median
        memory = peak_memory(step, None, threads, "ours", *case)
        ratios = (f"{time / before[0]:.2f}", f"{memory / before[1]:.2f}") if before else ("", "")
        lines.append(f"| L {length} | {time:.3f} s | {ratios[0]} | {megabytes(memory)} | {ratios[1]} |")
        before = (time, memory)
    return [*lines, ""]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--reference", type=Path, help="folder of the published code")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    print("\n".join(report(options.reference, options.threads, options.rounds)))


if __name__ == "__main__":
    main()
