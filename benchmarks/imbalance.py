"""Imbalance: the slowest rank against the mean one, where ranks activate unlike numbers of elements.

    python -m benchmarks.imbalance RUN [--rows 400] [--length 256] [--steps 40]

Records what the best model of a run activates on its test data, row by row, deals rows out to 8 to 4,096
simulated ranks at random, and takes the slowest rank of every step. Prints tables in Markdown for
docs/scaling.md. The cost of a row is the floating-point operations of its elements: those outside
the routed modules, which are the same for every row of a length, and those of the routed modules.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import sma
from sma.training import Run
from sma.training.results import best_model
from sma.training.tasks.running import evaluating
from sma.training.tasks.task import Task

WORLDS = (8, 64, 512, 4096)
TOKENS = (1, 4, 16, 64)
"""Rows of a rank."""
CAPACITIES = (None, 2.0, 1.5, 1.0)
"""The most that a row may activate, over the mean of all rows; None for no limit."""


@dataclass(frozen=True)
class Recorded:
    """What rows of one length activated.

    Attributes:
        length: elements of a row.
        active: `(n_rows, n_layers)`, activations of each row, over the modules of a layer.
        routed: `(n_layers,)`, operations of an activation.
        dense: operations of an element in each layer besides.
    """

    length: int
    active: NDArray[np.int64]
    routed: NDArray[np.float64]
    dense: float

    def costs(self, capacity: float | None) -> tuple[NDArray[np.float64], float]:
        """Operations of each row and layer, `(n_rows, n_layers)`, and the share of activations dropped."""
        kept = self.active
        if capacity is not None:
            kept = np.minimum(kept, np.ceil(capacity * self.active.mean(0)))
        dropped = 1 - kept.sum() / max(self.active.sum(), 1)
        return kept * self.routed + self.dense * self.length, float(dropped)


def record(model: nn.Module, task: Task, *, n_rows: int, length: int) -> Recorded:
    """Run a model on rows of test data, cut to one length."""
    active: list[Tensor] = []
    layers: list[sma.recording.LayerRecord] = []
    with evaluating(model), torch.no_grad():
        for inputs in _rows(task, n_rows, length):
            with sma.record() as recording:
                model(inputs)
            layers = recording.layers
            active.append(torch.stack([layer.routing.active.sum((1, 2)) for layer in layers], 1))
    counts = torch.cat(active)[:n_rows].numpy()
    n = length // 4
    routed = np.array([layer.modules[0].flops(n) / n for layer in layers])
    inside = {id(p) for layer in layers for module in layer.modules for p in module.parameters()}
    outside = sum(p.numel() for p in model.parameters() if p.dim() == 2 and id(p) not in inside)
    return Recorded(length, counts, routed, 2 * outside / len(layers))


def _rows(task: Task, n_rows: int, length: int) -> Iterator[Tensor]:
    """`(B, length)` batches of at least that many rows."""
    found = 0
    for batch in task.evaluation_batches("test", 16):
        assert isinstance(batch.inputs, Tensor)
        if batch.mask is not None and not bool(batch.mask.all()):
            continue
        width = batch.inputs.shape[1] // length * length
        rows = batch.inputs[:, :width].reshape(-1, length)
        if len(rows):
            yield from rows.split(32)
            found += len(rows)
        if found >= n_rows:
            return
    raise SystemExit(f"the test data hold {found} whole rows of {length} elements; lower --rows or --length")


def slowest(costs: NDArray[np.float64], *, world: int, rows: int, steps: int, by_layer: bool) -> float:
    """The time of a step over that of the mean rank.

    Args:
        costs: `(n_rows, n_layers)`.
        world: ranks.
        rows: of each rank.
        steps: how many are simulated.
        by_layer: whether ranks wait for each other after every layer, as sharded models do; else once a step.
    """
    random = np.random.default_rng(0)
    total = 0.0
    for _ in range(steps):
        work = np.zeros((world, costs.shape[1]))
        for _ in range(rows):
            work += costs[random.integers(len(costs), size=world)]
        total += float(work.max(0).sum() if by_layer else work.sum(1).max())
    return total / steps / (rows * float(costs.sum(1).mean()))


def table(recorded: Recorded, *, steps: int, by_layer: bool, routed_only: bool) -> None:
    """Print one table: a line per tokens of a rank and capacity, a column per number of ranks."""
    print("| tokens per rank | capacity | dropped |" + "".join(f" {world:,} ranks |" for world in WORLDS))
    print("| ---: | ---: | ---: |" + " ---: |" * len(WORLDS))
    chosen = Recorded(recorded.length, recorded.active, recorded.routed, 0.0) if routed_only else recorded
    for rows in TOKENS:
        for capacity in CAPACITIES:
            costs, dropped = chosen.costs(capacity)
            cells = [
                f" {slowest(costs, world=world, rows=rows, steps=steps, by_layer=by_layer):.2f} |"
                for world in WORLDS
            ]
            limit = "none" if capacity is None else f"{capacity:g} x mean"
            print(f"| {rows * recorded.length:,} | {limit} | {dropped:.1%} |" + "".join(cells), flush=True)
    print()


def main() -> None:
    """Record, simulate, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a run on rows of tokens")
    parser.add_argument("--rows", type=int, default=400, help="rows to record")
    parser.add_argument("--length", type=int, default=256, help="elements of a row")
    parser.add_argument("--steps", type=int, default=40, help="steps to simulate")
    chosen = parser.parse_args()
    run = Run.open(chosen.run)
    task = run.spec().task.build()
    recorded = record(best_model(run), task, n_rows=chosen.rows, length=chosen.length)
    rates = recorded.active / recorded.length
    share = (recorded.active * recorded.routed).sum() / recorded.costs(None)[0].sum()
    print(f"{len(rates):,} rows of {chosen.length} elements. {share:.0%} of the operations are routed.\n")
    print("| layer | rate | deviation of rows | lowest | highest |\n| ---: | ---: | ---: | ---: | ---: |")
    for i, layer in enumerate(rates.T):
        print(f"| {i} | {layer.mean():.1%} | {layer.std():.1%} | {layer.min():.1%} | {layer.max():.1%} |")
    print("\n**Ranks wait once a step; routed operations alone**\n")
    table(recorded, steps=chosen.steps, by_layer=False, routed_only=True)
    print("**Ranks wait once a step (ddp); all operations**\n")
    table(recorded, steps=chosen.steps, by_layer=False, routed_only=False)
    print("**Ranks wait after every layer (fsdp); all operations**\n")
    table(recorded, steps=chosen.steps, by_layer=True, routed_only=False)


if __name__ == "__main__":
    main()
