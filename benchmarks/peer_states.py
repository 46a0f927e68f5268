"""Bytes that a row takes between decoding steps: SeqBoat's state beside what transformers' models keep.

    python -m benchmarks.peer_states [--positions 1024 4096]

The models are those of `peer_decoding`, after a prompt of that many tokens. Counted is every tensor that is
there after it and was not before, wherever a model keeps it.
"""

import argparse
import gc

import torch
from torch import Tensor

from benchmarks.decoding import language_model, random_tokens, size


class Reader:
    """A model of transformers that reads tokens into a cache."""

    def __init__(self, name: str) -> None:
        from transformers import AutoModelForCausalLM

        from benchmarks.peer_decoding import PEERS

        torch.manual_seed(0)
        self.config = PEERS[name]()
        self.model = AutoModelForCausalLM.from_config(self.config).eval()
        self.is_mamba = name.startswith("Mamba")

    def cache(self) -> object:
        """One that is empty; some models keep more in themselves."""
        from transformers import DynamicCache

        return DynamicCache(config=self.config)

    @torch.no_grad()
    def read(self, tokens: Tensor, cache: object, position: int = 0) -> None:
        """Read `(B, L)` tokens, the first of which is at this position."""
        options: dict[str, object] = {"cache_params" if self.is_mamba else "past_key_values": cache}
        if not self.is_mamba:
            options["position_ids"] = torch.arange(position, position + tokens.shape[1])[None]
        self.model(tokens, use_cache=True, **options)


def kept_by(name: str, position: int) -> int:
    """Bytes that one row of a model of transformers takes after `position` tokens, a step the last."""
    reader, tokens = Reader(name), random_tokens(1, position)
    before = all_tensors()
    cache = reader.cache()
    reader.read(tokens[:, :-1], cache)
    reader.read(tokens[:, -1:], cache, position - 1)
    return sum(n for place, n in all_tensors().items() if place not in before)


def all_tensors() -> dict[int, int]:
    """Where the memory of every tensor is, and its bytes."""
    gc.collect()
    memory = [thing.untyped_storage() for thing in gc.get_objects() if isinstance(thing, Tensor)]
    return {storage.data_ptr(): storage.nbytes() for storage in memory}


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
