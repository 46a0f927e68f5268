"""`--set`: what it reaches, and what it says when it does not."""

from typing import Any

import pytest

from sma.training import TrainSpec
from sma.training.settings.overrides import apply_overrides, parse_assignment


def changed(values: dict[str, Any], *assignments: str) -> TrainSpec:
    pairs = [parse_assignment(assignment) for assignment in assignments]
    return TrainSpec.model_validate(apply_overrides(values, pairs))


@pytest.mark.parametrize(
    ("text", "pair"),
    [
        ("steps=3", (("steps",), 3)),
        ("a.b.0.c=x", (("a", "b", "0", "c"), "x")),
        ("clip=null", (("clip",), None)),
        ("learning_rate=1e-3", (("learning_rate",), "1e-3")),  # YAML's float needs a dot; pydantic reads it
        ("task.pattern='*=*'", (("task", "pattern"), "*=*")),
        ("seed=", (("seed",), None)),
    ],
)
def test_assignments_are_read_as_yaml(text: str, pair: tuple[Any, Any]) -> None:
    assert parse_assignment(text) == pair


def test_every_level_can_be_set(values: dict[str, Any]) -> None:
    spec = changed(
        values,
        "steps=9",
        "learning_rate=1e-3",
        "optimizer.betas=[0.5, 0.6]",
        "schedule.warmup=7",
        "model.d_model=12",
        "model.blocks.0.mixer.d_state=3",
    )
    model: Any = spec.model
    assert (spec.steps, spec.learning_rate) == (9, 1e-3)
    assert spec.optimizer.betas == (0.5, 0.6)  # type: ignore[attr-defined]
    assert spec.schedule.warmup == 7
    assert (model.d_model, model.blocks[0].mixer.d_state) == (12, 3)
    assert model.blocks[0].repeat == 2  # the rest of the preset stays


def test_the_order_does_not_matter(values: dict[str, Any]) -> None:
    assignments = ["model.blocks.0.mixer.d_state=3", "model.norm=scale_norm", "model.n_layers=1"]
    specs = {changed(values, *order).digest for order in (assignments, assignments[::-1])}
    assert len(specs) == 1


def test_a_new_kind_starts_from_its_own_defaults(values: dict[str, Any]) -> None:
    spec = changed(values, "task.length=32", "task.kind=python_source")
    assert spec.task.kind == "python_source"
    assert spec.task.length == 32  # type: ignore[attr-defined]
    assert changed(values, "schedule=cosine").schedule.kind == "cosine"
    assert changed(values, "optimizer.kind=radam").optimizer.kind == "radam"


def test_the_given_values_stay_as_they_are(values: dict[str, Any]) -> None:
    before = repr(values)
    changed(values, "model.blocks.0.repeat=1", "task.length=8")
    assert repr(values) == before


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("steps", "--set takes field=value"),
        ("=3", "--set takes field=value"),
        ("a=[", "is not a YAML value"),
        ("modle.d_model=3", "there is no field modle; did you mean model?"),
        ("model.blocks.3.repeat=2", "there is no item model.blocks.3: model.blocks is a list of 1"),
        (
            "model.blocks.x.repeat=2",
            "there is no item model.blocks.x: model.blocks is a list of 1, whose items are",
        ),
        ("model.blocks.x=2", "there is no item model.blocks.x: model.blocks is a list of 1, whose items are"),
        ("model.blocks.0.mixr.d_state=2", "there is no field model.blocks.0.mixr; did you mean mixer?"),
        ("steps.x=2", "steps is 6 and has no fields"),
        ("model.blocks.0.mixer.d_stat=2", "unknown field 'd_stat'; did you mean d_state?"),
        ("model.blocks.0.windw=3", "unknown field 'windw'; there are: repeat, norm"),
        ("model.d_modl=2", "preset seqboat has no option 'd_modl'; did you mean d_model?"),
        ("model.windw=2", "preset seqboat has no option 'windw'; did you mean window?"),
        ("model.zzz=2", "preset seqboat has no option 'zzz'; there are: d_model, n_layers"),
        ("model.bloks.0.repeat=2", "there is no field model.bloks; did you mean blocks?"),
    ],
)
def test_errors_show_the_path_and_near_misses(values: dict[str, Any], assignment: str, message: str) -> None:
    with pytest.raises(ValueError, match=r".") as error:
        changed(values, assignment)
    assert message in str(error.value)
