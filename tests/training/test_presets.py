"""The ready runs, and the same runs as files."""

from pathlib import Path

import pytest

from sma.architectures.files.yaml import read_yaml
from sma.training import TrainSpec
from sma.training.presets import run_names, run_values
from sma.training.tasks.running import check_fit

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize("task", ["python_source", "digits", "wordnet"])
def test_the_example_is_the_ready_run(task: str) -> None:
    example = TrainSpec.model_validate(read_yaml(EXAMPLES / f"{task}.yaml"))
    assert example == TrainSpec.model_validate(run_values(task))


def test_every_ready_run_has_the_task_it_is_named_after() -> None:
    assert all(run_values(name)["task"]["kind"] == name for name in run_names())


@pytest.mark.parametrize("task", ["text_files", "table_text"])
def test_the_warm_up_of_own_text_is_a_share_of_any_run(task: str) -> None:
    values = run_values(task)
    values["task"].update(
        {"text_files": {"folder": "texts"}, "table_text": {"train": "a.csv", "text": "text"}}[task]
    )
    for steps, warmup in ((20, 1), (3600, 108)):
        spec = TrainSpec.model_validate({**values, "steps": steps})
        assert spec.schedule.over(steps).warmup == warmup


def test_values_are_copies() -> None:
    run_values("digits")["task"]["kind"] = "changed"
    assert run_values("digits")["task"]["kind"] == "digits"


def test_a_task_without_a_ready_run() -> None:
    with pytest.raises(ValueError, match=r"task 'digit' has no ready run; did you mean digits\?"):
        run_values("digit")


SMALL = {"n_training": 20, "n_validation": 5, "n_test": 5}
CHANGES = {"listops": SMALL, "pathfinder": SMALL, "synthetic_speech": {"pitches": [50]}}


@pytest.mark.parametrize(
    "name",
    [
        *("listops", "pathfinder", "associative_recall", "selective_copying", "induction_heads"),
        *("news", "python_docs", "fashion_mnist", "synthetic_speech", "gcide"),
    ],
)
def test_the_model_reads_its_task(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMA_CACHE", str(tmp_path))
    values = run_values(name)
    spec = TrainSpec.model_validate({**values, "task": {**values["task"], **CHANGES.get(name, {})}})
    try:
        task = spec.task.build()
    except ValueError as error:
        if "is missing; install it" not in str(error):
            raise
        pytest.skip(str(error))
    check_fit(spec.model.build(), task)
