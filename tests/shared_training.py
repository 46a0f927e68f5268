"""Small runs for the tests of training in several processes; as a program, one process of such a run.

    python tests/shared_training.py FOLDER KIND...     with the variables that torchrun sets

where KIND is `WAY:MODEL`, trains these models of `MODELS` in these ways, and leaves a run folder for each.
"""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from typing_extensions import override

import sma
from sma.compilation import graph_breaks
from sma.training import Batch, Run, Task, TaskSpec, Trainer, TrainSpec, trainer
from sma.training.parallel.contract import Parallel
from sma.training.parallel.family import ParallelSpec
from sma.training.parallel.processes import process_group
from sma.training.parallel.torchrun import Place
from sma.training.run.silent import create_together
from sma.training.tasks.task import IGNORED

N_ROWS, LENGTH, N_TOKENS = 7, 8, 11
ROOT = str(Path(__file__).parents[1])
SURROUNDINGS = {"MASTER_ADDR": "127.0.0.1", "OMP_NUM_THREADS": "1", "PYTHONPATH": ROOT}
"""Of a process of a run; beside this file, the folder of the tests of `sma` would be found in its place."""
SIZES: dict[str, Any] = {"vocab_size": N_TOKENS, "d_model": 8, "n_layers": 2}
MODELS: dict[str, dict[str, Any]] = {
    "seqboat": {"preset": "seqboat", **SIZES, "d_qk": 4, "d_state": 2, "window": 3},
    "sma_all": {"preset": "sma_all", **SIZES, "d_state": 2, "window": 3},
    "mixture_of_depths": {"preset": "mixture_of_depths", **SIZES, "n_heads": 2, "max_positions": LENGTH},
    "mixtral_like": {
        "preset": "mixtral_like", **SIZES, "n_heads": 2, "n_experts": 3, "d_hidden": 6,
        "max_positions": LENGTH,
    },
    "batch_norm": {
        "preset": "seqboat", **SIZES, "d_qk": 4, "d_state": 2, "window": 3, "norm": "batch_norm",
        "bidirectional": True, "n_classes": N_TOKENS,
    },
    "graphs": {"preset": "graph_network", "d_model": 8, "n_layers": 2, "d_input": 3, "n_classes": 4},
}  # fmt: skip


WAYS: dict[str, dict[str, Any]] = {
    "ddp": {"parallel": "ddp"},
    "compiled": {"parallel": "ddp", "compile": True},
    "fsdp": {"parallel": "fsdp", "activation_checkpointing": True},
    "averaged": {"parallel": "fsdp", "average": 0.5},
    "scaled": {"parallel": "fsdp", "precision": "float16"},
    "mixed": {"parallel": {"kind": "fsdp", "mixed_precision": True}, "precision": "float32"},
}
"""The fields of a run, by the name of a way to train in several processes."""


class Ragged(Task):
    """Rows of several lengths, some elements of which are scored; in every third batch, some have none.

    Args:
        world: in every third batch, rows 1, 1 + world, ... have no real element: those of process 1.
        kind: what there is to predict: every element, one class per row, or the nodes of graphs.
    """

    title, facts, unit, headline = "ragged rows", {}, "token", "bits"

    def __init__(self, world: int, kind: str) -> None:
        self.world, self.kind = world, kind
        self.n_classes = 4 if kind == "graphs" else N_TOKENS

    @override
    def training_batch(self, batch_size: int, generator: torch.Generator) -> Batch:
        if self.kind == "graphs":
            return _graphs(batch_size, generator)
        lengths = torch.randint(1, LENGTH + 1, (batch_size,), generator=generator)
        if torch.randint(3, (), generator=generator) == 0:
            lengths[1 :: self.world] = 0
        lengths[0] = LENGTH
        tokens = torch.randint(N_TOKENS, (batch_size, LENGTH), generator=generator)
        mask = torch.arange(LENGTH) < lengths[:, None]
        if self.kind == "rows":
            return Batch(tokens, torch.where(lengths > 0, tokens[:, 0], IGNORED), mask)
        scored = mask & (torch.rand(tokens.shape, generator=generator) < 0.7)
        return Batch(tokens, torch.where(scored, tokens.roll(1, 1), IGNORED), mask)

    @override
    def evaluation_batches(self, split: Any, batch_size: int) -> Iterator[Batch]:
        whole = self.training_batch(10, torch.Generator().manual_seed(len(split)))
        if self.kind == "graphs":
            yield whole
            return
        for rows in torch.arange(10).split(batch_size):
            yield Batch(whole.inputs[rows], whole.targets[rows], whole.mask[rows])  # type: ignore[index]

    @override
    def baselines(self) -> dict[str, float]:
        return {}

    @override
    def sections(self, model: nn.Module, test: Any) -> list[Any]:
        return []


def _graphs(n_graphs: int, generator: torch.Generator) -> Batch:
    """One graph in every second batch, else several."""
    from torch_geometric.data import Batch as Graphs
    from torch_geometric.data import Data

    def graph() -> Data:
        n = int(torch.randint(4, 7, (), generator=generator))
        return Data(
            x=torch.randn(n, 3, generator=generator), edge_index=torch.randint(n, (2, 9), generator=generator)
        )

    data = graph()
    if torch.randint(2, (), generator=generator) == 0:
        data = Graphs.from_data_list([data, *(graph() for _ in range(n_graphs - 1))])
    return Batch(data, torch.randint(4, (data.num_nodes,), generator=generator))


@sma.register
class RaggedSpec(TaskSpec):
    """Builds `Ragged`."""

    kind: Literal["ragged_in_tests"] = "ragged_in_tests"
    world: int = 2
    what: str = "elements"

    @override
    def build(self) -> Ragged:
        return Ragged(self.world, self.what)


def spec_of(model: str, world: int, **fields: Any) -> TrainSpec:
    """The spec of a run that reacts to what it should not."""
    what = {"graphs": "graphs", "batch_norm": "rows"}.get(model, "elements")
    values = {
        "task": {"kind": "ragged_in_tests", "world": world, "what": what},
        "model": MODELS[model],
        "steps": 4,
        "batch_size": N_ROWS,
        "accumulation": 2,
        "learning_rate": 1e-2,
        "schedule": {"kind": "linear", "warmup": 1},
        "optimizer": {"kind": "adamw", "eps": 1e-3},  # so that rounding is not blown up
        "precision": "float64",
        "validation_interval": 2,
        "log_interval": 1,
        "device": "cpu",
        **fields,
    }
    spec = TrainSpec.model_validate(values)
    return spec.model_copy(update={"model": _with_budgets(spec.model)}) if model == "seqboat" else spec


def _with_budgets(model: Any) -> Any:
    values = model.model_dump(mode="json")
    for block in values["blocks"]:
        router = block["branches"][1]["router"]
        block["branches"][1]["router"] = {
            "kind": "activation_budget", "router": router, "rate": 0.2, "coefficient": 1.0,
        }  # fmt: skip
    return type(model).model_validate(values)


def fit(spec: TrainSpec, root: Path, name: str, parallel: Parallel | None = None) -> Trainer:
    """Train a model whose weights are far from those of a fresh one, where nothing would be decided."""
    trainer = Trainer(spec, spec.task.build(), parallel=parallel)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in trainer.model.parameters():
            noise = 0.3 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.add_(_like(noise, parameter))
    create = lambda: Run.create(spec, root, name)  # noqa: E731
    trainer.fit(create() if parallel is None else create_together(parallel, create))
    return trainer


def _like(noise: Tensor, parameter: Tensor) -> Tensor:
    from sma.training.parallel.tensors import sharded_like

    return sharded_like(noise, parameter)


def processes(
    world: int, *arguments: str, program: tuple[str, ...] = (__file__,), seconds: float = 300
) -> list[tuple[int, str, str]]:
    """Run a program in several processes; of each the exit code, its output and its errors."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = []
    for rank in range(world):
        place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "MASTER_PORT": port}
        variables = {name: str(value) for name, value in place.items()}
        started.append(
            subprocess.Popen(
                [sys.executable, *program, *arguments],
                env={**os.environ, **variables, **SURROUNDINGS},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    try:
        said = [process.communicate(timeout=seconds) for process in started]
    finally:
        for process in started:
            process.kill()
    return [(process.returncode, *texts) for process, texts in zip(started, said, strict=True)]


def main(root: Path, kinds: list[str]) -> None:
    """Train every model in every way; also leave how many graphs were compiled, and what interrupts them."""
    place = Place.found()
    trainer.COMPILER = {"backend": "aot_eager"}
    with process_group("cpu"):
        for name in kinds:
            kind, model = name.split(":")
            spec = spec_of(model, place.world, **WAYS[kind])
            parallel: ParallelSpec | None = spec.parallel
            assert parallel is not None
            fit(spec, root, f"{kind}-{model}", parallel.build(place))
    graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    (root / f"graphs-{place.rank}.json").write_text(json.dumps([graphs, graph_breaks()]))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
