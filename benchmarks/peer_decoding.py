"""A decoding step of SeqBoat beside those of transformers' models of equal width and depth.

    python -m benchmarks.peer_decoding [--threads 1 2] [--rows 1 32] [--positions 1024 4096] [--rounds 10]

Six layers, D 256, 256 tokens, as initialised, float32, eager, without gradients. RecurrentGemma and SeqBoat
have a window of 128; the others' sizes are in their usual proportion to the width. The models take turns, a
round is `RUN` tokens for all rows, and times are medians of rounds.
"""

import argparse
from collections.abc import Callable, Iterator
from itertools import cycle

import torch
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    DynamicCache,
    LlamaConfig,
    Mamba2Config,
    MambaConfig,
    PreTrainedConfig,
    RecurrentGemmaConfig,
)

from benchmarks.decoding import D_MODEL, N_LAYERS, VOCABULARY, WINDOW, language_model
from benchmarks.measure import compare

PROMPT = 160  # more than the window, so that every state is full
RUN = 4
Step = Callable[[], object]

_SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": D_MODEL,
    "num_hidden_layers": N_LAYERS,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": None,
}
_HEADS = {"num_attention_heads": 4, "num_key_value_heads": 4}
PEERS: dict[str, Callable[[], PreTrainedConfig]] = {
    "RecurrentGemma": lambda: RecurrentGemmaConfig(
        **{**_SIZES, **_HEADS, "num_key_value_heads": 1},
        intermediate_size=3 * D_MODEL,
        attention_window_size=WINDOW,
    ),
    "Mamba": lambda: MambaConfig(**_SIZES),
    "Mamba2": lambda: Mamba2Config(**_SIZES, num_heads=8, head_dim=2 * D_MODEL // 8, n_groups=1),
    "Llama": lambda: LlamaConfig(**_SIZES, **_HEADS, intermediate_size=688),
}


def tokens(n_rows: int, length: int) -> Tensor:
    return torch.randint(VOCABULARY, (n_rows, length), generator=torch.Generator().manual_seed(1))


def each_token(n_rows: int) -> Iterator[Tensor]:
    return cycle(tokens(n_rows, 64).unbind(1))


def ours(n_rows: int, position: int) -> Step:
    """SeqBoat's step, for rows that have read `position` elements and differ in the last of them."""
    model = language_model()
    state = model.prefill(tokens(1, position - PROMPT))[1].select(torch.zeros(n_rows, dtype=torch.long))
    model.prefill(tokens(n_rows, PROMPT), None, state)
    following = each_token(n_rows)
    return lambda: model.step(next(following), state)


def peer(name: str, n_rows: int, position: int) -> Step:
    """A peer's step. Recurrent states do not depend on the position; a cache that does is filled up to it."""
    torch.manual_seed(0)
    config = PEERS[name]()
    model: nn.Module = AutoModelForCausalLM.from_config(config).eval()
    cache = DynamicCache(config=config)
    known = "cache_params" if name.startswith("Mamba") else "past_key_values"
    if name == "Llama":
        keys = torch.randn(
            n_rows, config.num_key_value_heads, position, D_MODEL // config.num_attention_heads
        )
        for layer in range(N_LAYERS):
            cache.update(keys, keys.clone(), layer)
    else:
        model(tokens(n_rows, PROMPT), **{known: cache}, use_cache=True)
    following = each_token(n_rows)
    seen = position

    def step() -> object:
        nonlocal seen
        options = {} if known == "cache_params" else {"position_ids": torch.full((1, 1), seen)}
        seen += 1
        return model(next(following).unsqueeze(1), **{known: cache}, use_cache=True, **options).logits

    return step


def repeated(run: Step) -> Step:
    def several() -> None:
        for _ in range(RUN):
            run()

    return several


@torch.no_grad()
def measured(threads: int, n_rows: int, position: int, rounds: int) -> dict[str, float]:
    """Seconds of a step by model, SeqBoat's first."""
    torch.set_num_threads(threads)
    steps = {"SeqBoat": ours(n_rows, position)}
    steps |= {name: peer(name, n_rows, position) for name in PEERS}
    timings = compare({name: repeated(step) for name, step in steps.items()}, rounds=rounds)
    return {name: timing.median / RUN for name, timing in timings.items()}


def report(threads: list[int], rows: list[int], positions: list[int], rounds: int) -> list[str]:
    """The table, as lines of Markdown: milliseconds, and relative to SeqBoat."""
    names = ["SeqBoat", *PEERS]
    lines = [f"| threads | rows | position | {' | '.join(names)} |", "| --- " * (3 + len(names)) + "|"]
    for n_threads in threads:
        for n_rows in rows:
            for position in positions:
                seconds = measured(n_threads, n_rows, position, rounds)
                first = seconds["SeqBoat"]
                cells = [f"{1e3 * time:.2f} ms, {time / first:.2f}" for time in seconds.values()]
                lines.append(f"| {n_threads} | {n_rows} | {position:,} | {' | '.join(cells)} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 32])
    parser.add_argument("--positions", type=int, nargs="+", default=[1024, 4096])
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args()
    print("\n".join(report(options.threads, options.rows, options.positions, options.rounds)))


if __name__ == "__main__":
    main()
