"""The published training runs."""

import pytest
import torch

from sma.architectures.presets.seqboat_published import PUBLISHED_PARAMETERS
from sma.spec.registry import kinds
from sma.training.recipes import recipe, recipe_names, recipe_tasks
from sma.training.tasks import TaskSpec

FOLDER = {"folder": "data"}

# What the official scripts say: rows per step (all GPUs together), steps, warm-up, its power, first and
# highest learning rate, weight decay, highest norm of the gradient.
SCRIPTS = {
    "seqboat_lra_listops": (64, 90_000, 27_000, 1, 1e-7, 0.004, 0.001, 1.0),
    "seqboat_lra_text": (50, 25_000, 10_000, 1, 1e-7, 0.004, 0.01, 1.0),
    "seqboat_lra_retrieval": (8 * 8, 91_960, 10_000, 1, 1e-7, 0.003, 0.04, 1.0),
    "seqboat_lra_image": (50, 180_000, 9_000, 1, 1e-7, 0.01, 0.02, 1.0),
    "seqboat_lra_pathfinder": (128, 250_000, 50_000, 1, 1e-7, 0.01, 0.01, 1.0),
    "seqboat_lra_path_x": (2 * 8 * 8, 125_000, 25_000, 2, 1e-7, 0.01, 0.01, 1.0),
    "seqboat_speech_commands": (20, 250_000, 10_000, 1, 1e-7, 0.01, 0.01, 1.0),
    "seqboat_enwik8": (1 * 8, 400_000, 24_000, 1, 2e-3, 5e-3, 0.1, 0.25),
}


def published_rate(step, steps, warmup, power, first, highest):
    """The official scheduler's learning rate before its update number `step + 1`."""
    if step <= warmup:
        return first + step**power * (highest - first) / warmup**power
    return highest / (steps - warmup) * (steps - step)


def test_every_published_model_has_one() -> None:
    assert sorted(recipe_names()) == sorted(SCRIPTS) == sorted(PUBLISHED_PARAMETERS)


@pytest.mark.parametrize("name", SCRIPTS)
def test_recipe_is_what_the_script_asks_for(name: str) -> None:
    rows, steps, warmup, power, first, highest, weight_decay, clip = SCRIPTS[name]
    spec = recipe(name, task=FOLDER)
    assert spec.batch_size * spec.accumulation == rows
    assert (spec.steps, spec.clip, spec.optimizer.weight_decay) == (steps, clip, weight_decay)
    for step in (0, 1, warmup // 3, warmup - 1, warmup, warmup + 1, steps // 2, steps - 1):
        rate = spec.learning_rate * spec.schedule.factor(step, step / steps)
        assert rate == pytest.approx(published_rate(step, steps, warmup, power, first, highest), rel=1e-9)


@pytest.mark.parametrize("name", ["seqboat_lra_image", "seqboat_enwik8"])
def test_optimizer_decays_every_parameter_by_itself(name: str) -> None:
    spec = recipe(name, task=FOLDER)
    weights = [torch.nn.Parameter(torch.ones(3)), torch.nn.Parameter(torch.ones(1))]
    optimizer = spec.optimizer.build(weights, spec.learning_rate)
    for weight in weights:
        weight.grad = torch.zeros_like(weight)
    optimizer.step()
    for weight in weights:  # decoupled: no gradient, and still smaller by the learning rate times the decay
        torch.testing.assert_close(
            weight, torch.full_like(weight, 1 - spec.learning_rate * spec.optimizer.weight_decay)
        )
    options = optimizer.param_groups[0]
    assert (options["betas"], options["eps"]) == ((0.9, 0.98), 1e-8)
    assert type(optimizer).__name__ == ("RAdam" if name == "seqboat_enwik8" else "AdamW")


def test_changes() -> None:
    spec = recipe("seqboat_lra_text", task=FOLDER, seed=7, batch_size=2)
    assert (spec.seed, spec.batch_size, spec.learning_rate) == (7, 2, 0.004)


def test_unknown_name() -> None:
    with pytest.raises(ValueError, match=r"seqboat_lra_images.*did you mean seqboat_lra_image"):
        recipe("seqboat_lra_images", task=FOLDER)


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_task_that_the_recipe_is_for(name: str) -> None:
    for kind in recipe_tasks(name):
        fields = kinds(TaskSpec)[kind].model_fields
        required = {field: "data" for field in fields if fields[field].is_required()}
        spec = recipe(name, task={"kind": kind, **(FOLDER if kind == "text_files" else required)})
        assert spec.task.kind == kind
        if spec.model.head.kind == "language_model":
            assert spec.model.embedding.vocab_size == 256  # bytes
    assert recipe(name, task=FOLDER).task.kind == recipe_tasks(name)[0]


def test_a_kind_alone() -> None:
    assert recipe("seqboat_speech_commands", task="synthetic_speech").task.sample_rate == 16_000


@pytest.mark.parametrize(
    ("name", "task", "told"),
    [
        (
            "seqboat_lra_image",
            {"kind": "lra_text", "folder": "x"},
            "rows of at most 1,024 numbers.*task.kind=lra_text",
        ),
        (
            "seqboat_lra_text",
            {"kind": "news"},
            "bytes in 2 classes, as in lra_text .*, and not for task.kind=news",
        ),
        ("seqboat_lra_pathfinder", {"folder": "x", "side": 128}, "task.side=128; set task.side=32"),
        (
            "seqboat_enwik8",
            {"kind": "digits"},
            "enwik8 or gcide or .* or table_text",
        ),
    ],
)
def test_another_tasks_data(name: str, task: dict, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        recipe(name, task=task)
