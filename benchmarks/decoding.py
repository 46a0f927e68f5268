"""One decoding step of SeqBoat against its matrix products, and against running the whole prefix again.

    python benchmarks/decoding.py [--threads 2] [--rounds 10]

As initialised, six layers, float32, without gradients; every round is one token for all rows.
"""

import argparse
from collections.abc import Callable
from itertools import cycle

import torch
from measure import compare
from torch import Tensor, nn

import sma
from sma.architectures import SequenceModel, seqboat
from sma.architectures.sequence_model import SequenceModelState
from sma.modules import GAU

N_ROWS, D_MODEL, N_LAYERS, WINDOW, VOCABULARY = 32, 256, 6, 128, 256
EARLY, LATE, PREFIX, CHUNK, SAMPLE = 1024, 65536, 2048, 256, 16


def language_model() -> SequenceModel:
    torch.manual_seed(0)
    return seqboat(vocab_size=VOCABULARY, d_model=D_MODEL, n_layers=N_LAYERS, window=WINDOW).build().eval()


def state_at(model: SequenceModel, position: int) -> SequenceModelState:
    """The state of rows that have read `position` elements; they differ in the last `CHUNK` of them."""
    state = model.init_state(1)
    for chunk in random_tokens(1, position - CHUNK).split(8 * CHUNK, 1):
        model.prefill(chunk, None, state)
    state = state.select(torch.zeros(N_ROWS, dtype=torch.long))
    model.prefill(random_tokens(N_ROWS, CHUNK), None, state)
    return state


def random_tokens(n_rows: int, length: int) -> Tensor:
    return torch.randint(VOCABULARY, (n_rows, length), generator=torch.Generator().manual_seed(1))


def stepping(model: SequenceModel, state: SequenceModelState) -> Callable[[], Tensor]:
    tokens = cycle(random_tokens(N_ROWS, CHUNK).unbind(1))
    return lambda: model.step(next(tokens), state)


def linear_products(model: SequenceModel) -> Callable[[], None]:
    """Every linear layer once on all rows, the head's included."""
    layers = [part for part in model.modules() if isinstance(part, nn.Linear)]
    inputs = [torch.randn(N_ROWS, part.in_features) for part in layers]
    hidden, table = torch.randn(N_ROWS, D_MODEL), torch.randn(VOCABULARY, D_MODEL)

    def run() -> None:
        for part, x in zip(layers, inputs, strict=True):
            part(x)
        nn.functional.linear(hidden, table)

    return run


def all_products(model: SequenceModel, active: list[int]) -> Callable[[], None]:
    """These, and those of attention with the memories of as many rows as activate it."""
    linear = linear_products(model)
    memories = [
        (torch.randn(n, WINDOW + 1, part.d_qk), torch.randn(n, WINDOW + 1, part.d_hidden), n)
        for part, n in zip((part for part in model.modules() if isinstance(part, GAU)), active, strict=True)
    ]

    def run() -> None:
        linear()
        for keys, values, n in memories:
            scores = keys @ torch.ones(n, keys.shape[2], 1)
            scores.mT @ values

    return run


@torch.inference_mode()
def report(threads: int, rounds: int) -> list[str]:
    """The table, as lines of Markdown."""
    torch.set_num_threads(threads)
    model = language_model()
    early, late = state_at(model, EARLY), state_at(model, LATE)
    before = size(early)
    active = active_rows(model, early)
    contenders: dict[str, Callable[[], object]] = {
        "early": stepping(model, early),
        "late": stepping(model, late),
        "linear": linear_products(model),
        "all": all_products(model, active),
    }
    timings = {name: timing.median for name, timing in compare(contenders, rounds=5 * rounds).items()}
    prefix = random_tokens(1, PREFIX)  # 32 rows take 32 times as long
    whole = compare({"whole": lambda: model(prefix)}, rounds=min(rounds, 3))["whole"].median * N_ROWS
    step, linear, products = timings["early"], timings["linear"], timings["all"]
    return [
        f"| {sum(active) / N_LAYERS / N_ROWS:.0%} of the elements active | figure | target |",
        "| --- | --- | --- |",
        f"| a token for each of {N_ROWS} rows, at position {EARLY:,} | {1e3 * step:.1f} ms | |",
        f"| at position {LATE:,} / at {EARLY:,} | {timings['late'] / step:.2f} | at most 1.1 |",
        f"| / its linear layers alone ({1e3 * linear:.1f} ms) | {step / linear:.1f} | at most 2 |",
        f"| / all its matrix products, attention's too ({1e3 * products:.1f} ms) | {step / products:.1f} | |",
        f"| running a prefix of {PREFIX:,} again / a step | {whole / step:,.0f} x | at least 20 x |",
        f"| state of a row | {before / N_ROWS / 2**20:.2f} MiB | constant: {size(late) == before} |",
        "",
    ]


def active_rows(model: SequenceModel, state: SequenceModelState) -> list[int]:
    """How many rows activate attention in each layer, on the average of a few steps."""
    with sma.record(model) as recording:
        for tokens in random_tokens(N_ROWS, SAMPLE).unbind(1):
            model.step(tokens, state)
    received = torch.stack([layer.n_elements for layer in recording.layers]).view(SAMPLE, N_LAYERS)
    return received.double().mean(0).round().int().tolist()


def size(state: sma.State) -> int:
    """Bytes."""
    return sum(tensor.numel() * tensor.element_size() for _, tensor in state.tensors())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args()
    print("\n".join(report(options.threads, options.rounds)))


if __name__ == "__main__":
    main()
