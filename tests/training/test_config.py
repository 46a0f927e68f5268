"""The spec of a run: presets, files, and what wrong fields say."""

from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from sma.spec.errors import one_line
from sma.testing import SpecContract
from sma.training import TrainSpec
from sma.training.optimization.optimizers import AdamSpec, AdamWSpec, RAdamSpec
from sma.training.optimization.schedules import CosineSchedule, LinearSchedule
from sma.training.presets import run_names, run_values
from sma.training.tasks.digits import DigitsSpec
from sma.training.tasks.text import PythonSourceSpec, TextFilesSpec


class PlainContract(SpecContract):
    """The contract for specs that build no module."""

    def build(self, spec: Any) -> Any:
        return spec


class TestTextFilesSpec(PlainContract):
    def make(self) -> TextFilesSpec:
        return TextFilesSpec(folder="somewhere", pattern="*.md", length=100, test_share=0.1)


class TestPythonSourceSpec(PlainContract):
    def make(self) -> PythonSourceSpec:
        return PythonSourceSpec(length=100)


class TestDigitsSpec(PlainContract):
    def make(self) -> DigitsSpec:
        return DigitsSpec()


class TestLinearSchedule(PlainContract):
    def make(self) -> LinearSchedule:
        return LinearSchedule(warmup=3, power=2, final=0.1)


class TestCosineSchedule(PlainContract):
    def make(self) -> CosineSchedule:
        return CosineSchedule(warmup=3)


class TestAdamWSpec(PlainContract):
    def make(self) -> AdamWSpec:
        return AdamWSpec(betas=(0.8, 0.9), weight_decay=0.3)


class TestAdamSpec(PlainContract):
    def make(self) -> AdamSpec:
        return AdamSpec(eps=1e-6)


class TestRAdamSpec(PlainContract):
    def make(self) -> RAdamSpec:
        return RAdamSpec(weight_decay=0.1)


@pytest.mark.parametrize("name", run_names())
def test_ready_runs_are_valid_and_survive_yaml(name: str) -> None:
    values = run_values(name)
    needed = {
        "text_files": {"folder": "somewhere"},
        "table_text": {"train": "a.csv", "text": "body"},
        "table_classification": {"train": "a.csv", "inputs": "body", "label": "mood"},
    }
    values["task"].update(needed.get(name, {}))
    spec = TrainSpec.model_validate(values)
    text = yaml.safe_dump(spec.model_dump(mode="json"))
    assert TrainSpec.model_validate(yaml.safe_load(text)) == spec


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "steps=0: Input should be greater than or equal to 1"),
        ({"learning_rate": -1}, "learning_rate=-1: Input should be greater than 0"),
        (
            {"learning_rate": 1e308},
            "learning_rate=1e+308: Input should be less than or equal to 1",
        ),
        ({"learning_rate": "fast"}, "learning_rate='fast': Input should be a valid number"),
        ({"precision": "float8"}, "precision='float8': Input should be 'float32', 'float64', 'bfloat16' or"),
        (
            {"schedule": {"kind": "linear", "warmup": 1.5}},
            "schedule.warmup=1.5: a share of the run lies",
        ),
        ({"schedule": {"kind": "linear", "warmup": -1}}, "schedule.warmup=-1: use a number of steps from 0"),
        ({"average": 1.0}, "average=1.0: Input should be less than 1"),
        ({"patience": 0}, "patience=0: Input should be greater than or equal to 1"),
        ({"weights": ""}, "weights.path='': String should have at least 1 character"),
        ({"weights": {"path": "x", "fresh": []}}, "weights: unknown field 'fresh'"),
        ({"loggers": ["tensorbord"]}, "did you mean tensorboard?"),
        ({"steps": None}, "steps, operations and time_limit are all null"),
        ({"stepz": 3}, "unknown field 'stepz'; did you mean steps"),
        (
            {"task": "digit"},
            "'digit' of TaskSpec (is its package installed, or imported?); did you mean digits?",
        ),
        (
            {"optimizer": {"kind": "adamw", "betas": [0.9, 2]}},
            "optimizer.betas.1=2: Input should be less than 1",
        ),
        ({"schedule": {"kind": "linear", "warm": 3}}, "schedule: unknown field 'warm'"),
        ({"threads": 100_000}, "threads=100000: at most 1,024 are allowed, since torch crashes"),
        ({"batch_size": 10**30}, "less than or equal to 16777216"),
        ({"steps": 10**30}, "less than or equal to 9007199254740992"),
        ({"device": "gpu"}, "device='gpu': use auto, cpu"),
        ({"model": {"preset": "seqboot"}}, "there is no preset 'seqboot'; did you mean seqboat"),
        ({"model": {"preset": "seqboat", "d_modl": 3}}, "has no option 'd_modl'; did you mean d_model"),
        ({"model": {"preset": "seqboat", "d_model": 8}}, "preset seqboat needs n_layers; set them"),
        ({"task": {}}, "task: needs a `kind`, one of: associative_recall, digits, "),
    ],
)
def test_errors_name_field_value_and_remedy_in_one_line(
    values: dict[str, Any], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError) as error:
        TrainSpec.model_validate({**values, **changes})
    line = one_line(error.value)
    assert message in line
    assert "\n" not in line


def test_a_missing_field_is_named(values: dict[str, Any]) -> None:
    del values["model"]
    with pytest.raises(ValidationError) as error:
        TrainSpec.model_validate(values)
    assert one_line(error.value) == "model: is missing; set it"


def test_digest_ignores_what_does_not_matter(values: dict[str, Any]) -> None:
    digests = {
        TrainSpec.model_validate({**values, **change}).digest
        for change in (
            {},
            {"threads": 1},
            {"time_limit": 5.0},
            {"log_interval": 3},
            {"activation_checkpointing": True},
            {"compile": True},
            {"loggers": ["tensorboard"]},
            {"patience": 3},
        )
    }
    assert len(digests) == 1
    assert TrainSpec.model_validate({**values, "seed": 1}).digest not in digests
