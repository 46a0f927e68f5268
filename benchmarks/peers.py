"""Against what a user would pick instead: layers, windowed attention, experts, prompts and decoding steps.

    python -m benchmarks.peers [--only layers windows] [--reference /path/to/SeqBoat] [--threads 2]

Peers are the packages of benchmarks/requirements.txt; `make bench` installs them in an environment of their
own. Contenders take turns, times are medians, and a number in brackets says how many times ours it is. Of a
peer that is not installed, or fails, the reason is told.
"""

import argparse
import functools
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.decoding import language_model, random_tokens
from benchmarks.peer_layers import experts_step, layer_step, window_step
from benchmarks.peer_states import Reader
from benchmarks.peer_table import Contest, Peer, report

TRANSFORMERS = ("transformers", "transformers")
PATIENCE = 15.0
"""Seconds that a contender has at most in one setting, if it had three rounds."""
N_TOKENS = 4
"""That a round of decoding makes for every row."""
LOOP = "the gradient of each step of its loop is as long as the row, so it takes minutes"
SHORT = (
    "At 1,024 elements, what costs the same at any activity, the moving average and the router, weighs most"
)
PROMPTS = {
    "RecurrentGemma": "Two of three of its layers have no attention",
    "Mamba": "It has no attention",
    "Mamba2": "It has no attention, and its sums over chunks are matrix products",
    "Llama": "In rows this short, attention is a small part of its matrix products, and one fused operation",
}
"""Why a model of transformers is ahead in reading prompts, where it is."""
STEPS = {
    "RecurrentGemma": "Two of three of its layers have no attention; each of SeqBoat's has a moving average, "
    "a router, and attention over a ring of the last activated elements",
    "Mamba": "A layer is one recurrence, without a router or attention",
    "Mamba2": "A layer is one recurrence, without a router or attention",
    "Llama": "A layer is matrix products and one fused attention over its cache, which grows with the row",
}
"""Why a model of transformers is ahead in a decoding step, where it is."""


def layers(reference: Path | None = None) -> Contest:
    peers = {
        "CoLT5 routed attention, 10 %": Peer("colt5_attention", "CoLT5-attention", why=SHORT),
        "local-attention": Peer("local_attention", "local-attention", why=SHORT),
        "mega-pytorch": Peer(
            "mega_pytorch",
            "mega-pytorch",
            not_run={"L 16,384": "it attends to the whole row, with weights of 1 GB per pass"},
        ),
        "mambapy": Peer("mambapy", "mambapy"),
        "transformers Mamba": Peer(*TRANSFORMERS, not_run={"L 4,096": LOOP, "L 16,384": LOOP}),
        "transformers RecurrentGemma, recurrent block": Peer(*TRANSFORMERS, not_run={"L 16,384": LOOP}),
        "transformers Llama, attention": Peer(*TRANSFORMERS, why=SHORT),
    }
    if reference is not None:
        peers["published SeqBoat"] = Peer("torch", "torch")
    return Contest(
        title="Layers",
        text="A training step (forward and backward) of one layer on one row, D 128. Attention has 2 heads "
        "of 64 and windows of 128 elements (Llama, mega-pytorch: the whole row), states have 16 columns; "
        "all but CoLT5's are causal.",
        ours="SeqBoat, 10 % active",
        peers=peers,
        settings={f"L {length:,}": (length, reference) for length in (1024, 4096, 16384)},
        step=layer_step,
    )


def mamba2() -> Contest:
    return Contest(
        title="Mamba-2",
        text="A training step of one layer on one row, D 128, heads of 64, states of 64 columns.",
        ours="SelectiveSSM",
        peers={"transformers Mamba2": Peer(*TRANSFORMERS)},
        settings={"L 4,096": (4096,), "L 16,384": (16384,)},
        step=layer_step,
    )


def windows() -> Contest:
    shapes = [(1, 128, 128), (2, 64, 128), (8, 64, 128), (1, 128, 512), (2, 64, 512)]
    local = Peer("local_attention", "local-attention")
    return Contest(
        title="Windowed attention alone",
        text="Forward and backward, causal, 16,384 elements of one row. local-attention sees the window and "
        "the rest of its block; with an exact window, the function is the same as ours.",
        ours="windowed_attention",
        peers={"local-attention": local, "local-attention, exact window": local},
        settings={
            f"{n_heads} head{'s' if n_heads > 1 else ''} of {d_head}, W {window}": (
                16384,
                n_heads,
                d_head,
                window,
            )
            for n_heads, d_head, window in shapes
        },
        step=window_step,
    )


def experts() -> Contest:
    return Contest(
        title="Experts",
        text="A training step of 4,096 elements, D 256, each of which takes 2 of 8 gated feed-forwards; the "
        "weights of Mixtral's block are ours.",
        ours="MixtureOfExperts",
        peers={
            "transformers Mixtral, eager": Peer(*TRANSFORMERS),
            "transformers Mixtral, grouped_mm": Peer(*TRANSFORMERS),
            "st-moe-pytorch": Peer("st_moe_pytorch", "st-moe-pytorch"),
        },
        settings={"d_hidden 512": (512,), "d_hidden 1,024": (1024,)},
        step=experts_step,
    )


def prompts() -> Contest:
    return Contest(
        title="Prompts",
        text="Reading prompts with what the next tokens need: 6 layers, D 256, vocabulary 256, without "
        "gradients. SeqBoat as initialised, which activates about half of the elements.",
        ours="SeqBoat",
        peers={f"transformers {name}": Peer(*TRANSFORMERS, why=why) for name, why in PROMPTS.items()},
        settings={"1 x 4,096": (1, 4096), "8 x 512": (8, 512)},
        step=prompt_step,
    )


def prompt_step(threads: int, name: str, n_rows: int, length: int) -> Callable[[], object]:
    """A prompt read by a model: scores at every element, and the state or cache after the last."""
    torch.set_num_threads(threads)
    tokens = random_tokens(n_rows, length)
    if name == "SeqBoat":
        model = language_model()
        return torch.no_grad()(lambda: model.prefill(tokens))
    reader = Reader(name.rpartition(" ")[2])
    return lambda: reader.read(tokens, reader.cache())


def decoding(threads: int) -> Contest:
    return Contest(
        title=f"Decoding, {threads} thread{'s' if threads > 1 else ''}",
        text="A token for every row: 6 layers, D 256, vocabulary 256, windows of 128 (Llama: the whole "
        "row), eager.",
        ours="SeqBoat",
        peers={f"transformers {name}": Peer(*TRANSFORMERS, why=why) for name, why in STEPS.items()},
        settings={
            f"{rows} row{'s' if rows > 1 else ''}, from {position:,}": (threads, rows, position)
            for rows in (1, 32)
            for position in (1024, 4096)
        },
        step=decoding_steps,
        repeats=N_TOKENS,
        memory=False,
    )


@torch.no_grad()
def decoding_steps(_: int, name: str, threads: int, n_rows: int, position: int) -> Callable[[], object]:
    """Some tokens for every row, one after another."""
    from benchmarks.peer_decoding import ours, peer

    torch.set_num_threads(threads)
    step = ours(n_rows, position) if name == "SeqBoat" else peer(name.rpartition(" ")[2], n_rows, position)
    return torch.no_grad()(lambda: [step() for _ in range(N_TOKENS)])


CONTESTS: dict[str, Callable[..., Contest]] = {
    "layers": layers,
    "mamba2": mamba2,
    "windows": windows,
    "experts": experts,
    "prompts": prompts,
    "decoding": functools.partial(decoding, 2),
    "decoding_one_thread": functools.partial(decoding, 1),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=list(CONTESTS), default=list(CONTESTS))
    parser.add_argument("--reference", type=Path, help="folder of the published code")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args()
    made = dict(CONTESTS) | {"layers": functools.partial(layers, options.reference)}
    contests = [made[name]() for name in options.only]
    print("\n".join(report(contests, options.threads, options.rounds, PATIENCE)))


if __name__ == "__main__":
    main()
