"""Micro-batches of a step act as one batch of all their rows, however unequal they are."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sma.modules.routers.pointwise import LatentConfigurator
from sma.training import Batch, Run, RunError, Task, evaluate
from sma.training.loop.micro_batches import MicroBatches
from sma.training.parallel.contract import OneProcess
from sma.training.tasks.rows import RowPairs
from sma.training.tasks.rows import Rows as StoredRows
from sma.training.tasks.rows_task import RowsTask
from sma.training.tasks.task import IGNORED, Split
from sma.training.trainer import Trainer

Make = Callable[..., tuple[Trainer, Run]]
LENGTHS = (20, 3, 11, 1)


class Rows(Task):
    """Rows of several lengths, in the same batches every time."""

    title, facts, n_classes, unit, headline = "rows", {}, 256, "token", "bits"

    def __init__(self, batches: Sequence[Batch]) -> None:
        self.batches = batches
        self.drawn = 0

    def training_batch(self, batch_size: int, generator: torch.Generator) -> Batch:
        self.drawn += 1
        return self.batches[(self.drawn - 1) % len(self.batches)]

    def evaluation_batches(self, split: Split, batch_size: int) -> Iterator[Batch]:
        yield from self.batches

    def baselines(self) -> dict[str, float]:
        return {}

    def sections(self, model: nn.Module, test: Any) -> list[Any]:
        return []


def rows(lengths: Sequence[int] = LENGTHS, unscored: Sequence[int] = ()) -> Batch:
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(256, (len(lengths), 20), generator=generator)
    targets = torch.randint(256, (len(lengths), 20), generator=generator)
    mask = torch.arange(20) < torch.tensor(lengths)[:, None]
    targets[~mask] = IGNORED
    targets[list(unscored)] = IGNORED
    return Batch(tokens, targets, mask)


def cut(batch: Batch, *sizes: int) -> list[Batch]:
    assert batch.mask is not None
    assert isinstance(batch.inputs, Tensor)
    parts = zip(batch.inputs.split(sizes), batch.targets.split(sizes), batch.mask.split(sizes), strict=True)
    return [Batch(*part) for part in parts]


def budgeted(make: Make) -> dict[str, Any]:
    """A model without dropout whose routers have a loss that is a mean over real elements."""
    trainer, _ = make()
    model: dict[str, Any] = trainer.spec.model.model_dump(mode="json")
    for block in model["blocks"]:
        block |= {"mixer_dropout": 0.0, "dropout": 0.0}
    model["embedding"]["dropout"] = 0.0
    return model


def one_step(make: Make, model: dict[str, Any], batches: list[Batch]) -> tuple[dict[str, Any], list[Tensor]]:
    """The row of a step and its gradients."""
    trainer, run = make(model=model, accumulation=len(batches), clip=None, precision="float64")
    trainer.gradients.task = Rows(batches)
    trainer.model.train()
    trainer._step(run)
    gradients = [p.grad for p in trainer.model.parameters() if p.grad is not None]
    return dict(run.metrics()[0]), gradients


@pytest.mark.parametrize("unscored", [(), (1,), (0, 2, 3)])
@pytest.mark.parametrize("sizes", [(1, 3), (1, 1, 1, 1), (3, 1)])
def test_a_step_is_that_of_one_batch(make: Make, sizes: tuple[int, ...], unscored: tuple[int, ...]) -> None:
    """Loss, gradients, bits and activation rates, also where a micro-batch has nothing to score."""
    model = budgeted(make)
    batch = rows(unscored=unscored)
    whole, expected = one_step(make, model, [batch])
    row, gradients = one_step(make, model, cut(batch, *sizes))
    for ours, theirs in zip(gradients, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)
    for name in ("loss", "bits", "gradient_norm"):
        assert row[name] == pytest.approx(whole[name], rel=1e-9)
    assert row["activation"].keys() == whole["activation"].keys()
    for layer, rates in whole["activation"].items():
        assert row["activation"][layer] == pytest.approx(rates, rel=1e-6)
    assert whole["bits"] > 1


def test_losses_of_routers_count_by_real_elements(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """A router's loss that is a mean over real elements is the same mean over all micro-batches."""
    forward = LatentConfigurator.forward

    def with_loss(self: Any, x: Tensor, mask: Tensor | None = None) -> Any:
        routing = forward(self, x, mask)
        if mask is None:  # as the model is tried on the task
            return routing
        mean = (x.square().mean(-1) * mask).sum() / mask.sum()
        return replace(routing, losses={"square": mean})

    monkeypatch.setattr(LatentConfigurator, "forward", with_loss)
    model = budgeted(make)
    whole, expected = one_step(make, model, [rows()])
    row, gradients = one_step(make, model, cut(rows(), 1, 3))
    assert whole["auxiliary"]
    for name, value in whole["auxiliary"].items():
        assert row["auxiliary"][name] == pytest.approx(value, rel=1e-6)
    for ours, theirs in zip(gradients, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


def test_a_step_without_targets_is_an_error(make: Make) -> None:
    trainer, run = make(accumulation=2)
    trainer.gradients.task = Rows(cut(rows(unscored=range(4)), 2, 2))
    with pytest.raises(RunError, match=r"have nothing to score: .* set a higher batch_size"):
        trainer._step(run)


@pytest.mark.parametrize("sizes", [(1, 3), (2, 1, 1)])
def test_an_evaluation_weighs_every_target_equally(make: Make, sizes: tuple[int, ...]) -> None:
    """Over batches of several sizes, one of which may have nothing to score."""
    trainer, _ = make(precision="float64")
    batch = rows(unscored=(0,) if sizes[0] == 1 else ())
    whole = evaluate(trainer.model, Rows([batch]), "test", batch_size=4)
    parts = evaluate(trainer.model, Rows(cut(batch, *sizes)), "test", batch_size=1)
    assert parts.loss == pytest.approx(whole.loss, rel=1e-9)
    assert (parts.accuracy, parts.n_targets) == (whole.accuracy, whole.n_targets)
    for layer, rates in whole.activation_rates.items():
        assert parts.activation_rates[layer] == pytest.approx(rates, rel=1e-6)


class Fake(OneProcess):
    """Thinks that it is one of several."""

    def __init__(self, rank: int, world: int) -> None:
        self.rank, self.world = rank, world


def some_rows(n: int, *, features: bool) -> StoredRows:
    lengths = 1 + np.arange(n) % 7
    values = np.arange(lengths.sum())
    ends, labels = np.cumsum(lengths), np.arange(n) % 2
    return StoredRows(values[:, None] if features else values, ends, labels, roles=values % 5)


def row_tasks() -> dict[str, Task]:
    """Rows of tokens or features of unlike length, and pairs of them."""
    tokens, features = some_rows(50, features=False), some_rows(50, features=True)
    kinds: dict[str, Any] = {"tokens": tokens, "features": features, "pairs": RowPairs(tokens, features)}
    return {
        name: RowsTask(
            dict.fromkeys(("training", "validation", "test"), rows),
            title=name, facts={}, classes=["even", "odd"],
        )
        for name, rows in kinds.items()
    }  # fmt: skip


def parts(value: Any) -> list[Any]:
    return list(value) if isinstance(value, tuple) else [value]


def check_same_rows(ours: Batch, dealt: Batch) -> None:
    """The same but for padding that no row of these needs."""
    assert torch.equal(ours.targets, dealt.targets)
    masks = zip(parts(ours.mask), parts(dealt.mask), strict=True)
    for mine, theirs, (mask, whole) in zip(parts(ours.inputs), parts(dealt.inputs), masks, strict=True):
        length = mine.shape[1]
        assert torch.equal(mine, theirs[:, :length])
        given = torch.ones_like(whole) if mask is None else torch.nn.functional.pad(
            mask, (0, whole.shape[1] - length)
        )  # fmt: skip
        assert torch.equal(given, whole)
    if dealt.roles is not None:
        assert ours.roles is not None
        assert torch.equal(ours.roles, dealt.roles[:, : ours.roles.shape[1]])


@pytest.mark.parametrize("world", [2, 3])
@pytest.mark.parametrize("kind", ["tokens", "features", "pairs", "text"])
def test_a_process_draws_its_rows_alone(
    make: Make, monkeypatch: pytest.MonkeyPatch, kind: str, world: int
) -> None:
    task = make()[0].task if kind == "text" else row_tasks()[kind]
    seeds, size = [3, 4], 7
    alone = [MicroBatches.draw(task, size, seeds, Fake(rank, world)) for rank in range(world)]
    monkeypatch.setattr(type(task), "training_part", Task.training_part)
    dealt = [MicroBatches.draw(task, size, seeds, Fake(rank, world)) for rank in range(world)]
    for mine, theirs in zip(alone, dealt, strict=True):
        counts = ("n_targets", "n_real", "n_copies", "n_step_targets")
        assert [getattr(mine, name) for name in counts] == [getattr(theirs, name) for name in counts]
        for batch, expected in zip(mine.batches, theirs.batches, strict=True):
            if kind == "text":
                assert torch.equal(batch.inputs, expected.inputs)  # type: ignore[arg-type]
                assert torch.equal(batch.targets, expected.targets)
            else:
                check_same_rows(batch, expected)


def test_other_rows_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    batch = StoredRows.batch

    def counted(rows: StoredRows, chosen: Sequence[int]) -> Batch:
        read.append(len(chosen))
        return batch(rows, chosen)

    monkeypatch.setattr(StoredRows, "batch", counted)
    MicroBatches.draw(row_tasks()["tokens"], 8, [0], Fake(1, 4))
    assert read == [2]
