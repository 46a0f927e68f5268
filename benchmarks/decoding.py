"""One decoding step of SeqBoat against its matrix products, and against running the whole prefix again.

    python -m benchmarks.decoding [--threads 2] [--rounds 10]

As initialised, six layers, float32, without gradients; every round is `RUN` tokens for all rows, one after
another as in decoding. Compiling a step needs a C++ compiler.
"""

import argparse
from collections.abc import Callable
from itertools import cycle

import torch
from torch import Tensor, nn
from torch._inductor.exc import InductorError

import sma
from benchmarks.measure import compare
from sma.architectures import SequenceModel, seqboat
from sma.architectures.models.sequence import SequenceModelState
from sma.modules import GAU

N_ROWS, D_MODEL, N_LAYERS, WINDOW, VOCABULARY = 32, 256, 6, 128, 256
EARLY, LATE, PREFIX, CHUNK, SAMPLE, RUN = 1024, 65536, 2048, 256, 16, 10


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


def stepping(step: Callable[..., Tensor], state: SequenceModelState) -> Callable[[], Tensor]:
    tokens = cycle(random_tokens(N_ROWS, CHUNK).unbind(1))
    return lambda: step(next(tokens), state)


def compiled(model: SequenceModel, state: SequenceModelState) -> Callable[..., Tensor] | None:
    """A compiled step; None where nothing can be compiled."""
    torch._dynamo.config.capture_dynamic_output_shape_ops = True
    step = torch.compile(model.step, fullgraph=True)
    try:
        step(random_tokens(N_ROWS, 1)[:, 0], state.select(torch.arange(N_ROWS)))
    except InductorError:
        return None
    return step


def repeated(run: Callable[[], object]) -> Callable[[], None]:
    def several() -> None:
        for _ in range(RUN):
            run()

    return several


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


@torch.no_grad()
def report(threads: int, rounds: int) -> list[str]:
    """The table, as lines of Markdown."""
    torch.set_num_threads(threads)
    model = language_model()
    early, late = state_at(model, EARLY), state_at(model, LATE)
    before = size(early)
    active = active_rows(model, early)
    contenders: dict[str, Callable[[], object]] = {
        "early": stepping(model.step, early),
        "late": stepping(model.step, late),
        "linear": linear_products(model),
        "all": all_products(model, active),
    }
    step = compiled(model, early)
    if step is not None:
        contenders["compiled"] = stepping(step, early.select(torch.arange(N_ROWS)))
    several = {name: repeated(run) for name, run in contenders.items()}
    timings = {name: timing.median / RUN for name, timing in compare(several, rounds=rounds).items()}
    prefix = random_tokens(1, PREFIX)  # 32 rows take 32 times as long
    reading = compare(
        {
            "whole": lambda: model(prefix),
            "prefill": lambda: model.prefill(prefix, None, model.init_state(1)),
        },
        rounds=rounds,
    )
    whole, prefill = (reading[name].median for name in ("whole", "prefill"))
    share = sum(active) / N_LAYERS / N_ROWS
    early_time, linear, products = timings["early"], timings["linear"], timings["all"]
    again = N_ROWS * whole / early_time

    def relative(name: str) -> str:
        if name not in timings:
            return "no C++ compiler | |"
        time = timings[name]
        return f"{1e3 * time:.1f} ms | {time / products:.2f} | {time / linear:.2f} |"

    return [
        f"A token for each of {N_ROWS} rows; {share:.0%} of the elements are active.",
        "",
        "| | time | / all matrix products, target 1.5 | / those of linear layers alone |",
        "| --- | --- | --- | --- |",
        f"| `model.step` at position {EARLY:,} | {relative('early')}",
        f"| the same at position {LATE:,} | {relative('late')}",
        f"| `torch.compile(model.step)` | {relative('compiled')}",
        f"| all matrix products: linear layers, head, keys and values | {relative('all')}",
        f"| linear layers and head alone | {relative('linear')}",
        "",
        "| figure | measured | target |",
        "| --- | --- | --- |",
        f"| at position {LATE:,} / at {EARLY:,} | {timings['late'] / early_time:.2f} | at most 1.1 |",
        f"| running a prefix of {PREFIX:,} again / a step | {again:,.0f} x | at least 20 x |",
        f"| reading a prompt of {PREFIX:,} / a forward pass | {prefill / whole:.2f} | at most 1.1 |",
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
