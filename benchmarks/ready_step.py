"""The processor time of a training step of the ready run, by kind of operation.

    python -m benchmarks.ready_step [--rounds 20]

Forward, loss, backward and optimizer on one batch of random bytes, on one thread, after steps that warm up.
"""

import argparse
from collections import Counter
from collections.abc import Callable

import torch
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile

import sma
from benchmarks.measure import compare
from sma.training import TrainSpec
from sma.training.presets import run_values

MEMORY = ("copy_", "flip", "fill_", "zero_", "cat", "index", "_index", "gather", "scatter", "unfold_backward")
"""How the names of torch's operations begin that compute nothing."""


def kind(name: str) -> str:
    """The kind of an operation, by its name in a profile."""
    own = name.removeprefix("aten::")
    if own == name:
        found = {"_": "attention's and the moving average's own functions", "O": "optimizer"}
        return found.get(name[0], "autograd")
    if own.rstrip("_").endswith("mm"):
        return "matrix products"
    return "memory: copies, gathers, scatters" if own.startswith(MEMORY) else "other operations on elements"


def training_step() -> Callable[[], None]:
    spec = TrainSpec.model_validate(run_values("python_source"))
    torch.manual_seed(0)
    model = spec.model.build().train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    tokens = torch.randint(256, (spec.batch_size, spec.task.length + 1))

    def step() -> None:
        with sma.record(model) as recording:
            logits = model(tokens[:, :-1])
        loss = F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
        optimizer.zero_grad()
        (loss + sum(recording.losses.values())).backward()
        optimizer.step()

    return step


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    torch.set_num_threads(1)  # a second one would wait for the first in part of the time
    step = training_step()
    time = compare({"step": step}, rounds=options.rounds)["step"].median
    with profile(activities=[ProfilerActivity.CPU]) as found:
        for _ in range(options.rounds):
            step()
    spent: Counter[str] = Counter()
    for event in found.key_averages():
        spent[kind(event.key)] += event.self_cpu_time_total
    print(f"A step takes {1e3 * time:.0f} ms. Of its processor time:\n")
    print("| | share |\n| --- | --- |")
    for name, value in spent.most_common():
        print(f"| {name} | {value / spent.total():.0%} |")


if __name__ == "__main__":
    main()
