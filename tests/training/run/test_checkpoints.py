"""Checkpoints: what comes back, and what damaged or foreign ones say."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from sma.training import Run, RunError, TrainSpec
from sma.training.run.checkpoints import load_checkpoint, read_position, save_best, save_checkpoint
from sma.training.trainer import Trainer

Make = Callable[..., tuple[Trainer, Run]]


@pytest.fixture
def trained(make: Make) -> tuple[Trainer, Run]:
    trainer, run = make(steps=2, validation_interval=2)
    trainer.fit(run)
    return trainer, run


def test_everything_comes_back(trained: tuple[Trainer, Run]) -> None:
    trainer, run = trained
    fresh = Trainer(trainer.spec, trainer.task)
    position = load_checkpoint(run, fresh.spec, fresh.model, fresh.optimizer)
    assert position == trainer.position
    for ours, theirs in zip(
        fresh.model.state_dict().values(), trainer.model.state_dict().values(), strict=True
    ):
        assert torch.equal(ours, theirs)
    ours, theirs = fresh.optimizer.state_dict()["state"], trainer.optimizer.state_dict()["state"]
    assert ours.keys() == theirs.keys()
    for index, state in theirs.items():
        for key, value in state.items():
            assert torch.equal(torch.as_tensor(ours[index][key]), torch.as_tensor(value))


def test_no_pickle_and_readable_without_this_package(trained: tuple[Trainer, Run]) -> None:
    _, run = trained
    with safe_open(run.last, framework="np") as file:
        metadata = file.metadata()
        names = set(file.keys())
    assert json.loads(metadata["position"])["step"] == 2
    assert {name.split("/")[0] for name in names} == {"model", "optimizer"}
    assert not [path for path in run.path.rglob("*") if path.suffix in {".pt", ".pth", ".pkl", ".bin"}]


@pytest.mark.parametrize("keep", [0, 5, 0.5, -1])
def test_a_truncated_checkpoint(trained: tuple[Trainer, Run], keep: float) -> None:
    trainer, run = trained
    content = run.last.read_bytes()
    run.last.write_bytes(content[: int(len(content) * keep) if isinstance(keep, float) else keep])
    fresh = Trainer(trainer.spec, trainer.task)
    with pytest.raises(
        RunError, match=r"damaged or cut off .*the best weights are in .*sma train --spec"
    ) as error:
        fresh.resume(run)
    assert "\n" not in str(error.value)
    assert run.metrics()  # nothing was touched


def test_a_missing_checkpoint(trained: tuple[Trainer, Run]) -> None:
    _, run = trained
    run.last.unlink()
    with pytest.raises(RunError, match=r"last.safetensors is missing.*start a new one with"):
        read_position(run)


def test_a_file_of_another_program(trained: tuple[Trainer, Run]) -> None:
    _, run = trained
    save_file({"x": torch.zeros(1)}, run.last)
    with pytest.raises(RunError, match=r"has format of another program, and sma .* reads 1; start a new run"):
        read_position(run)


def test_a_checkpoint_of_another_spec(trained: tuple[Trainer, Run]) -> None:
    trainer, run = trained
    values = trainer.spec.model_dump()
    values["model"]["blocks"][0]["repeat"] = 1
    other = TrainSpec.model_validate({**values, "seed": 7})
    fresh = Trainer(other, trainer.task)
    message = r"another spec: model.blocks.0.repeat \(2 there, 1 here\), seed \(0 there, 7 here\); resume"
    with pytest.raises(ValueError, match=message):
        fresh.resume(run)


def test_fields_without_influence_may_change(trained: tuple[Trainer, Run]) -> None:
    trainer, run = trained
    other = TrainSpec.model_validate({**trainer.spec.model_dump(), "threads": 1, "time_limit": 60})
    Trainer(other, trainer.task).resume(run)


def test_a_failed_write_keeps_the_older_checkpoint(
    trained: tuple[Trainer, Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer, run = trained
    before = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}

    def full(source: object, target: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    for write in (
        lambda: save_checkpoint(run, trainer.spec, trainer.position, trainer.model, trainer.optimizer),
        lambda: save_best(run, trainer.model),
    ):
        with pytest.raises(RunError, match=r"No space left on device\); free some space"):
            write()
    assert {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()} == before


def test_best_is_a_model_folder(trained: tuple[Trainer, Run]) -> None:
    trainer, run = trained
    assert {path.name for path in run.best.iterdir()} == {"spec.json", "model.safetensors"}
    stored = load_file(run.best / "model.safetensors")
    state = trainer.model.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in stored.items())


def test_no_temporary_files_stay(trained: tuple[Trainer, Run]) -> None:
    _, run = trained
    assert not list(Path(run.path).rglob(".*"))
