"""Bytes that a row takes between decoding steps: SeqBoat's state beside what transformers' models keep.

    python -m benchmarks.peer_states [--positions 1024 4096]

The models are those of `peer_decoding`, after a prompt of that many tokens. Counted is every tensor that is
there after it and was not before, wherever a model keeps it.
"""

import argparse
import gc
from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.decoding import language_model, random_tokens, size


def reading(name: str, tokens: Tensor) -> Callable[[], object]:
    """A prompt that a model of transformers reads, from the beginning each time; the result is its cache."""
    from benchmarks.peer_decoding import PEERS
    from transformers import AutoModelForCausalLM, DynamicCache

    torch.manual_seed(0)
    config = PEERS[name]()
    model = AutoModelForCausalLM.from_config(config).eval()
    argument = "cache_params" if name.startswith("Mamba") else "past_key_values"

    def read() -> object:
        cache = DynamicCache(config=config)
        model(tokens, **{argument: cache}, use_cache=True)
        return cache

    return torch.no_grad()(read)


def kept_by(name: str, position: int) -> int:
    """Bytes that one row of a model of transformers takes after `position` tokens."""
    read = reading(name, random_tokens(1, position))
    before = all_tensors()
    cache = read()
    n_bytes = sum(n for place, n in all_tensors().items() if place not in before)
    del cache  # which was there until now
    return n_bytes


def all_tensors() -> dict[int, int]:
    """Where every tensor is in memory, and its bytes; of a view those that it shows."""
    gc.collect()
    tensors = [thing for thing in gc.get_objects() if isinstance(thing, Tensor)]
    return {tensor.data_ptr(): tensor.nbytes for tensor in tensors}


def report(positions: list[int]) -> list[str]:
    """The table, as lines of Markdown."""
    try:
        from benchmarks.peer_decoding import PEERS
    except ImportError as error:
        return [f"Not measured: {error}."]
    state = size(language_model().init_state(1))
    counts = {"SeqBoat": [state] * len(positions)}
    counts |= {f"transformers {name}": [kept_by(name, position) for position in positions] for name in PEERS}
    heads = " | ".join(f"after {position:,} tokens" for position in positions)
    cells = {name: " | ".join(f"{n / 2**20:.2f} MB" for n in found) for name, found in counts.items()}
    rows = [f"| {name} | {text} |" for name, text in cells.items()]
    return [f"| a row's state | {heads} |", "| --- " * (1 + len(positions)) + "|", *rows, ""]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--positions", type=int, nargs="+", default=[1024, 4096])
    print("\n".join(report(parser.parse_args().positions)))


if __name__ == "__main__":
    main()
