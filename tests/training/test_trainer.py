"""The training loop: exact resuming, stopping, and what a failed run leaves behind."""

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn

import sma
from sma.architectures import load_model
from sma.architectures.models.base import Model, ModelSpec
from sma.training import Observer, Run, RunError, TrainSpec, evaluate, resume, train
from sma.training.run.checkpoints import read_position
from sma.training.tasks.task import Evaluation
from sma.training.trainer import Trainer

Make = Callable[..., tuple[Trainer, Run]]
EXACT = (
    "step",
    "split",
    "loss",
    "bits",
    "gradient_norm",
    "learning_rate",
    "activation",
    "auxiliary",
    "accuracy",
)


class StopAt(Observer):
    """Raises the same signal as Ctrl-C when a step is done."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step(self, trainer: Trainer, loss: float) -> None:
        if trainer.position.step == self.step:
            import signal

            signal.raise_signal(signal.SIGINT)


def exact_rows(run: Run) -> list[dict[str, Any]]:
    return [{key: row[key] for key in EXACT if key in row} for row in run.metrics()]


@pytest.mark.parametrize(("optimizer", "stop"), [("adamw", 1), ("adamw", 4), ("adamw", 5), ("radam", 3)])
def test_a_resumed_run_is_the_same_bit_for_bit(make: Make, stop: int, optimizer: str) -> None:
    fields = {"optimizer": optimizer, "log_interval": 2, "accumulation": 2}
    whole, whole_run = make(**fields)
    assert whole.fit(whole_run) == "finished"

    first, run = make(**fields)
    first.observer = StopAt(stop)
    assert first.fit(run) == "interrupted"
    assert first.position.step == stop
    torch.manual_seed(99)  # another process starts with other random numbers
    again = Trainer(first.spec, first.task)
    again.resume(run)
    assert again.fit(run) == "finished"

    for (name, ours), theirs in zip(again.model.named_parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(ours, theirs), name
    rows = [row for row in exact_rows(run) if row["split"] == "training"]
    assert rows == [row for row in exact_rows(whole_run) if row["split"] == "training"]
    assert read_position(run).best_loss == read_position(whole_run).best_loss


@pytest.mark.parametrize(
    "fields",
    [
        {"precision": "float16", "average": 0.9},
        {"optimizer": {"kind": "torch", "name": "SGD", "arguments": {"momentum": 0.9}}, "schedule": "cosine"},
    ],
    ids=["float16 and an average", "momentum and shares"],
)
def test_a_resumed_run_has_the_same_averages_and_scales(make: Make, fields: dict[str, Any]) -> None:
    whole, whole_run = make(**fields)
    whole.fit(whole_run)
    first, run = make(**fields)
    first.observer = StopAt(3)
    first.fit(run)
    again = Trainer(first.spec, first.task)
    again.resume(run)
    assert again.scheduler.get_last_lr() == pytest.approx(first.scheduler.get_last_lr(), rel=0)
    again.fit(run)
    for ours, theirs in (
        (again.model, whole.model),
        (again.validated_model, whole.validated_model),
    ):
        for mine, other in zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True):
            assert torch.equal(mine, other)
    rows = [row for row in exact_rows(run) if row["split"] == "training"]
    assert rows == [row for row in exact_rows(whole_run) if row["split"] == "training"]
    assert read_position(run).best_loss == read_position(whole_run).best_loss


def test_a_resumed_run_has_the_same_schedules(make: Make) -> None:
    model = _without_dropout(make)
    model["blocks"][0]["branches"][1]["router"] = {
        "kind": "activation_budget",
        "router": {"kind": "gumbel", "temperature": {"start": 2.0, "end": 0.5, "over": 0.5}},
        "rate": [{"start": 1.0, "end": 0.1}],
        "coefficient": 1.0,
    }
    whole, whole_run = make(model=model)
    whole.fit(whole_run)
    first, run = make(model=model)
    first.observer = StopAt(3)
    first.fit(run)
    again = Trainer(first.spec, first.task)
    again.resume(run)
    router = again.model.blocks[1].branches[1].router
    assert float(router.router.temperature()) == pytest.approx(1.0)  # the third step began after 2 of 6
    assert float(router.rates[0]()) == pytest.approx(0.7)
    again.fit(run)
    assert float(router.rates[0]()) == pytest.approx(0.25)
    ours, theirs = again.model.state_dict(), whole.model.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    rows = [row for row in exact_rows(run) if row["split"] == "training"]
    assert rows == [row for row in exact_rows(whole_run) if row["split"] == "training"]


def test_the_same_spec_gives_the_same_run(make: Make) -> None:
    runs = [make() for _ in range(2)]
    for trainer, run in runs:
        trainer.fit(run)
    assert exact_rows(runs[0][1]) == exact_rows(runs[1][1])
    other, other_run = make(seed=1)
    other.fit(other_run)
    assert exact_rows(other_run) != exact_rows(runs[0][1])


def test_activation_checkpointing_changes_nothing_but_memory(make: Make) -> None:
    rows = []
    for checkpointing in (False, True):
        trainer, run = make(activation_checkpointing=checkpointing, accumulation=2, precision="bfloat16")
        assert trainer.model.activation_checkpointing == checkpointing
        trainer.fit(run)
        rows.append(exact_rows(run))
    assert rows[0] == rows[1]


def test_best_weights_are_those_of_the_best_validation(make: Make) -> None:
    trainer, run = make(steps=12, validation_interval=3)
    trainer.fit(run)
    rows = [row for row in run.metrics() if row["split"] == "validation"]
    best = min(rows, key=lambda row: row["loss"])
    assert [row["step"] for row in rows] == [3, 6, 9, 12]
    assert read_position(run).best_step == best["step"]
    again = evaluate(load_model(run.best), trainer.task, "validation", batch_size=2)
    assert again.loss == best["loss"]


def test_training_learns(make: Make) -> None:
    trainer, run = make(steps=40, validation_interval=40, log_interval=10)
    trainer.fit(run)
    training = [row["loss"] for row in run.metrics() if row["split"] == "training"]
    assert training[-1] < training[0] - 1


def test_a_logged_loss_is_the_mean_since_the_line_before(make: Make) -> None:
    fine, fine_run = make(log_interval=1)
    coarse, coarse_run = make(log_interval=3)
    fine.fit(fine_run)
    coarse.fit(coarse_run)
    losses = [row["loss"] for row in fine_run.metrics() if row["split"] == "training"]
    means = [row["loss"] for row in coarse_run.metrics() if row["split"] == "training"]
    assert means == pytest.approx([sum(losses[:3]) / 3, sum(losses[3:]) / 3], rel=1e-12)


def test_accumulated_gradients_are_means(make: Make) -> None:
    """Two micro-batches of two rows give the mean of both gradients."""
    trainer, run = make(accumulation=2, clip=None, model=_without_dropout(make))
    drawn = trainer.gradients.draw(0)
    losses = [trainer.gradients.loss(trainer.call, drawn, 0, index).loss for index in range(2)]
    expected = torch.autograd.grad(sum(losses) / 2, list(trainer.model.parameters()), allow_unused=True)
    trainer._step(run)
    for parameter, gradient in zip(trainer.model.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)


def test_losses_of_routers_are_added(make: Make) -> None:
    model = _without_dropout(make)
    layer = model["blocks"][0]["branches"][1]
    layer["router"] = {
        "kind": "activation_budget",
        "router": layer["router"],
        "rate": 0.1,
        "coefficient": 1.0,
    }
    trainer, run = make(model=model)
    trainer.fit(run)
    row = run.metrics()[0]
    assert sum(row["auxiliary"].values()) > 0
    assert row["loss"] == pytest.approx(row["bits"] * math.log(2) + sum(row["auxiliary"].values()), rel=1e-5)


def test_clipping_limits_the_step(make: Make) -> None:
    trainer, run = make(clip=1e-3)
    trainer.model.train()
    trainer._step(run)
    norm = torch.stack([p.grad.norm() for p in trainer.model.parameters() if p.grad is not None]).norm()
    assert norm == pytest.approx(1e-3, rel=1e-3)
    assert run.metrics()[0]["gradient_norm"] > 1e-2  # as it was before


@pytest.mark.parametrize("precision", ["float64", "bfloat16", "float16"])
def test_precisions(make: Make, precision: str) -> None:
    trainer, run = make(precision=precision, steps=2)
    assert trainer.fit(run) == "finished"
    dtype = torch.float64 if precision == "float64" else torch.float32
    assert {parameter.dtype for parameter in trainer.model.parameters()} == {dtype}


def test_a_time_limit_ends_a_run_without_steps(make: Make) -> None:
    trainer, run = make(steps=None, time_limit=0.2)
    assert trainer.fit(run) == "time limit"
    assert trainer.position.best_step == trainer.position.step > 0
    assert trainer.progress == 1


def test_ctrl_c_before_the_first_validation_still_leaves_a_best_model(make: Make) -> None:
    trainer, run = make()
    trainer.observer = StopAt(2)
    assert trainer.fit(run) == "interrupted"
    load_model(run.best)


class Broken(Model):
    """A model whose scores turn into NaN after some training calls."""

    def __init__(self, spec: "BrokenSpec") -> None:
        super().__init__()
        self.spec = spec
        self.scores = nn.Parameter(torch.zeros(256))
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        self.calls += self.training
        scores = self.scores.expand(*inputs.shape, 256)
        return scores * float("nan") if self.calls > self.spec.good_calls else scores


@sma.register
class BrokenSpec(ModelSpec):
    """Builds `Broken`."""

    kind: Literal["broken_in_tests"] = "broken_in_tests"
    good_calls: int = 5

    def build(self) -> Broken:
        return Broken(self)


def test_a_loss_that_is_no_number_keeps_the_last_good_weights(make: Make) -> None:
    trainer, run = make(model={"kind": "broken_in_tests"}, steps=10, validation_interval=2)
    with pytest.raises(
        RunError, match=r"the loss is nan in step 6 .*step 4\).*lower learning_rate or clip"
    ) as error:
        trainer.fit(run)
    assert "\n" not in str(error.value)
    assert read_position(run).step == 4
    assert torch.isfinite(load_model(run.best).scores).all()  # type: ignore[union-attr]


def test_an_infinite_gradient_stops_before_it_does_harm(make: Make) -> None:
    trainer, run = make()
    next(trainer.model.parameters()).register_hook(lambda gradient: gradient * float("inf"))
    with pytest.raises(RunError, match=r"the gradient's norm is (nan|inf) in step 1"):
        trainer.fit(run)
    assert all(torch.isfinite(parameter).all() for parameter in trainer.model.parameters())


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            {"preset": "seqboat", "vocab_size": 100, "d_model": 8, "n_layers": 1},
            "cannot read this task's inputs|scores",
        ),
        (
            {"preset": "seqboat", "vocab_size": 300, "d_model": 8, "n_layers": 1},
            "vocab_size or n_classes to 256",
        ),
        (
            {"preset": "seqboat", "vocab_size": 256, "n_classes": 256, "d_model": 8, "n_layers": 1},
            "change its head",
        ),
        (
            {"preset": "seqboat", "d_input": 1, "n_classes": 256, "d_model": 8, "n_layers": 1},
            "the embedding that fits",
        ),
    ],
)
def test_a_model_that_does_not_fit_the_task(
    values: dict[str, Any], model: dict[str, Any], message: str
) -> None:
    spec = TrainSpec.model_validate({**values, "model": model})
    with pytest.raises(ValueError, match=message) as error:
        Trainer(spec, spec.task.build())
    assert "\n" not in str(error.value)


def test_a_device_that_is_not_there(values: dict[str, Any]) -> None:
    spec = TrainSpec.model_validate({**values, "device": "cuda:99"})
    with pytest.raises(ValueError, match=r"device='cuda:99' does not work here .*; use device=cpu"):
        Trainer(spec, spec.task.build())


def test_nothing_is_left_behind_when_the_folder_vanishes(make: Make, tmp_path: Path) -> None:
    trainer, run = make()
    for path in run.path.iterdir():
        path.unlink()
    run.path.rmdir()
    with pytest.raises(RunError, match="cannot write"):
        trainer.fit(run)


def _without_dropout(make: Make) -> dict[str, Any]:
    trainer, _ = make()
    model: dict[str, Any] = trainer.spec.model.model_dump(mode="json")
    for block in model["blocks"]:
        block |= {"mixer_dropout": 0.0, "dropout": 0.0}
    model["embedding"]["dropout"] = 0.0
    return model


def test_a_warm_up_longer_than_the_run_is_said_before_it_starts(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    trainer, run = make(steps=2, schedule={"kind": "linear", "warmup": 100})
    trainer.fit(run)
    assert "the warm-up is longer than the run (schedule.warmup=100, steps=2)" in caplog.text
    caplog.clear()
    trainer, run = make(steps=2)
    trainer.fit(run)
    assert not caplog.text


def test_resuming_a_finished_run_says_what_it_does(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    trainer, run = make(steps=2)
    trainer.fit(run)
    again = Trainer(trainer.spec, trainer.task)
    again.resume(run)
    assert again.fit(run) == "finished"
    assert "ended at step 2, so nothing is left to train: its best weights are tested" in caplog.text
    assert f"sma train --resume {run.path} --set steps=" in caplog.text


def test_a_run_that_reached_its_time_limit_is_not_validated_twice(make: Make) -> None:
    trainer, run = make(steps=None, time_limit=0.2)
    trainer.fit(run)
    rows = run.metrics()
    again = Trainer(trainer.spec, trainer.task)
    again.resume(run)
    assert again.fit(run) == "time limit"
    assert run.metrics() == rows


def test_a_validation_loss_that_is_not_a_number_keeps_the_best_weights(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer, run = make(validation_interval=2)
    losses = iter([1.0, float("nan")])
    monkeypatch.setattr(
        "sma.training.trainer.evaluate",
        lambda *arguments, **options: Evaluation(next(losses), 0.5, 1, 0.0, {}),
    )
    with pytest.raises(RunError, match=r"the validation loss is nan after step 4; .*\(step 2\) in .*best"):
        trainer.fit(run)
    assert read_position(run).best_step == 2


@pytest.mark.parametrize("steps", [6, 7])
def test_a_finished_run_goes_on_with_more_steps(make: Make, tmp_path: Path, steps: int) -> None:
    """To what it would have been with so many, where the learning rate does not depend on their number."""
    fields = {"schedule": {"kind": "constant", "warmup": 2}, "validation_interval": 3}
    whole, whole_run = make(**fields, steps=9)
    whole.fit(whole_run)
    longer = whole.spec
    run, _ = train(longer.model_copy(update={"steps": steps}), root=tmp_path / "extended")
    assert resume(run, longer) == "finished"
    assert run.spec() == longer
    rows, expected = exact_rows(run), exact_rows(whole_run)
    assert [row for row in rows if row["split"] == "training"] == [
        row for row in expected if row["split"] == "training"
    ]
    assert rows[-1] == expected[-1]
    results = run.results()
    assert results is not None
    assert (results.steps, results.ending) == (9, "finished")


def test_a_run_cannot_go_on_with_fewer_steps_than_it_has(make: Make) -> None:
    trainer, run = make(steps=4)
    trainer.fit(run)
    shorter = TrainSpec.model_validate({**trainer.spec.model_dump(), "steps": 3})
    with pytest.raises(ValueError, match=r"has 4 steps behind it, more than steps=3; set a higher number"):
        Trainer(shorter, trainer.task).resume(run)
    assert run.spec() == trainer.spec


def test_a_run_goes_on_for_a_longer_time(make: Make) -> None:
    trainer, run = make(steps=None, time_limit=0.2)
    trainer.fit(run)
    step, limit = trainer.position.step, trainer.position.elapsed + 0.3
    longer = TrainSpec.model_validate({**trainer.spec.model_dump(), "time_limit": limit})
    again = Trainer(longer, trainer.task)
    again.resume(run)
    assert again.fit(run) == "time limit"
    assert again.position.step > step


def test_training_stops_early(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer, run = make(steps=20, validation_interval=2, patience=2)
    losses = iter([3.0, 2.0, 2.5, 1.5, 1.7, 1.6, 1.0])
    monkeypatch.setattr(
        "sma.training.trainer.evaluate",
        lambda *arguments, **options: Evaluation(next(losses), 0.5, 1, 0.0, {}),
    )
    assert trainer.fit(run) == "stopped early"
    assert trainer.position.step == 12
    assert (trainer.position.best_step, trainer.position.stale) == (8, 2)
    again = Trainer(TrainSpec.model_validate({**trainer.spec.model_dump(), "patience": 3}), trainer.task)
    again.resume(run)
    assert again.position.stale == 2  # and so the next validation is the last unless it is better
    again.observer = StopAt(13)
    assert again.fit(run) == "interrupted"


def test_the_average_is_validated_and_kept(make: Make) -> None:
    plain, plain_run = make()
    plain.fit(plain_run)
    trainer, run = make(average=0.5)
    values = []
    name = next(iter(dict(trainer.model.named_parameters())))

    class Watch(Observer):
        def on_step(self, trainer: Trainer, loss: float) -> None:
            values.append(trainer.model.get_parameter(name).detach().clone())

    trainer.observer = Watch()
    trainer.fit(run)
    expected = values[0]
    for value in values[1:]:
        expected = 0.5 * expected + 0.5 * value
    torch.testing.assert_close(trainer.validated_model.get_parameter(name), expected)
    assert torch.equal(load_model(run.best).get_parameter(name), trainer.validated_model.get_parameter(name))
    training = [row for row in exact_rows(plain_run) if row["split"] == "training"]
    assert [row for row in exact_rows(run) if row["split"] == "training"] == training
    assert read_position(run).best_loss != read_position(plain_run).best_loss


def test_float16_leaves_out_steps_of_infinite_gradients(make: Make) -> None:
    trainer, run = make(precision="float16", steps=3)
    weights = next(trainer.model.parameters())
    before = weights.detach().clone()
    hook = weights.register_hook(lambda gradient: gradient * float("inf"))
    trainer.model.train()
    trainer._step(run)
    assert torch.equal(weights, before)
    assert trainer.precision.scale == 2.0**15
    hook.remove()
    trainer._step(run)
    assert not torch.equal(weights, before)
    rows = run.metrics()
    assert [row["gradient_norm"] > 0 for row in rows] == [False, True]
    assert [row["loss_scale"] for row in rows] == [2.0**15, 2.0**15]


def test_float16_gives_up_when_no_scale_helps(make: Make) -> None:
    trainer, run = make(precision="float16", steps=40)
    next(trainer.model.parameters()).register_hook(lambda gradient: gradient * float("inf"))
    with pytest.raises(RunError, match=r"the gradient's norm is (nan|inf) in step 28"):
        trainer.fit(run)


def test_a_compiled_run_is_the_same(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """With auxiliary losses, in one graph."""
    model = _without_dropout(make)
    model["blocks"] = [{**model["blocks"][0], "repeat": 1}]
    layer = model["blocks"][0]["branches"][1]
    layer["router"] = {
        "kind": "activation_budget",
        "router": layer["router"],
        "rate": 0.1,
        "coefficient": 1.0,
    }
    monkeypatch.setattr("sma.training.trainer.COMPILER", {"backend": "aot_eager", "fullgraph": True})
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    runs = []
    for compiled in (False, True):
        trainer, run = make(model=model, compile=compiled, steps=4)
        trainer.fit(run)
        runs.append([row for row in run.metrics() if row["split"] == "training"])
    counters = torch._dynamo.utils.counters
    assert counters["stats"]["unique_graphs"] == 1
    assert not counters["graph_break"]
    for ours, theirs in zip(*runs, strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], abs=1e-5)
        assert ours["auxiliary"] == pytest.approx(theirs["auxiliary"], abs=1e-5)
        assert ours["auxiliary"]["activation_budget"] > 0
        assert ours["activation"] == theirs["activation"]


def test_graph_breaks_are_said(make: Make, monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    monkeypatch.setattr("sma.training.trainer.COMPILER", {"backend": "eager"})
    torch._dynamo.reset()
    trainer, run = make(model={"kind": "breaking_in_tests"}, compile=True, steps=2)
    trainer.fit(run)
    assert len(re.findall(r"the compiled step is interrupted at \d+ place", caplog.text)) == 1
    assert "graph_break" in caplog.text


class Breaking(Broken):
    """A model that torch compiles in two parts."""

    def forward(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        torch._dynamo.graph_break()
        return self.scores.expand(*inputs.shape, 256)


@sma.register
class BreakingSpec(ModelSpec):
    """Builds `Breaking`."""

    kind: Literal["breaking_in_tests"] = "breaking_in_tests"

    def build(self) -> Breaking:
        return Breaking(self)
