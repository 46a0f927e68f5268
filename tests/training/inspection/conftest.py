"""Runs that were not trained: their weights are random enough for routers to choose."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from typing_extensions import override

from sma import Router, Routing
from sma.training import Run, TrainSpec
from sma.training.results import write_facts
from sma.training.run.checkpoints import save_best
from sma.training.tasks.task import Batch, Task
from sma.training.trainer import Trainer

N_TOKENS, LENGTH, N_ROWS = 16, 24, 12
MODEL: dict[str, Any] = {
    "preset": "seqboat", "d_model": 8, "n_layers": 2, "d_qk": 4, "d_hidden": 8, "window": 3, "d_state": 2,
}  # fmt: skip
RECALL: dict[str, Any] = {
    "kind": "associative_recall", "length": LENGTH, "vocab_size": N_TOKENS, "n_pairs": 3, "n_queries": 3,
    "n_evaluation": N_ROWS,
}  # fmt: skip
TASKS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "recall": (RECALL, {"vocab_size": N_TOKENS}),
    "digits": ({"kind": "digits"}, {"d_input": 1, "n_classes": 10}),
}

Make = Callable[..., Run]


def disturb(model: nn.Module, seed: int) -> None:
    """Weights far from those of a fresh model, whose routers decide next to nothing."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.5 * torch.randn(parameter.shape, generator=generator))


def make_run(root: Path, name: str, kind: str, seed: int = 0, **model: Any) -> Run:
    """A run's folder, as training leaves it after two logged steps, without a report."""
    task, sizes = TASKS[kind]
    base = {} if "preset" in model else MODEL
    values = {"task": task, "model": {**base, **sizes, **model}, "steps": 2, "batch_size": 5, "seed": seed}
    spec = TrainSpec.model_validate(values)
    trainer = Trainer(spec, spec.task.build())
    disturb(trainer.model, seed)
    run = Run.create(spec, root, name)
    write_facts(run, trainer, ["sma", "train"])
    save_best(run, trainer.model)
    layers = [name for name, module in trainer.model.named_modules() if hasattr(module, "sub_modules")]
    for step, rate in ((1, 0.2), (2, 0.4)):
        activation = {name: [rate + 0.1 * i] for i, name in enumerate(layers)}
        run.log({
            "step": step, "split": "training", "loss": 1.0, "bits": 1.0, "auxiliary": {}, "gradient_norm": 1,
            "learning_rate": 0.1, "activation": activation, "elements_per_second": 1.0, "seconds": 1.0,
        })  # fmt: skip
    return run


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """Runs by name: two seeds of one model, one on pictures, one without routers."""
    root = tmp_path_factory.mktemp("runs")
    return {
        "recall": make_run(root, "recall", "recall"),
        "other seed": make_run(root, "other seed", "recall", seed=1),
        "digits": make_run(root, "digits", "digits"),
        "other model": make_run(root, "other model", "recall", d_model=12),
    }


@pytest.fixture
def recall(runs: dict[str, Run]) -> tuple[Task, nn.Module]:
    """A task whose elements have roles and needs, and a causal model."""
    spec = runs["recall"].spec()
    model = spec.model.build().double().eval()
    disturb(model, 0)
    return spec.task.build(), model


class Stubborn(Router):
    """Another router, that decides otherwise about one element."""

    def __init__(self, router: Router, position: int) -> None:
        super().__init__(router.n_modules)
        self.router, self.position = router, position

    @override
    def forward(self, x: Tensor, mask: Tensor | None = None) -> Routing:
        routing = self.router(x, mask)
        active = routing.active.clone()
        active[:, self.position] ^= True
        return replace(routing, active=active)


class Ragged:
    """A task whose rows are padded in their batch, 3 and 5 elements long."""

    title = "ragged rows"

    def evaluation_batches(self, split: str, batch_size: int) -> Iterator[Batch]:
        inputs = torch.arange(10).view(2, 5) % N_TOKENS
        mask = torch.tensor([[True] * 3 + [False] * 2, [True] * 5])
        yield Batch(inputs, inputs.masked_fill(~mask, -100), mask, roles=inputs % 2)
        yield Batch(inputs[:1], inputs[:1], None)
