"""Recipes: the training runs of the published SeqBoat models (https://arxiv.org/abs/2306.11197).

The values are those of the official training scripts (https://github.com/renll/SeqBoat, commit 5a34aed).
Where those used 8 GPUs, the same batch is accumulated here.
"""

from typing import Any

from sma.checks import near
from sma.training.config import TrainSpec

_ADAM = {"kind": "adamw", "betas": (0.9, 0.98), "eps": 1e-8}

# batch_size, accumulation, steps, warm-up, learning rate, weight decay
_CLASSIFIERS: dict[str, tuple[int, int, int, int, float, float]] = {
    "seqboat_lra_listops": (64, 1, 90_000, 27_000, 4e-3, 0.001),
    "seqboat_lra_text": (50, 1, 25_000, 10_000, 4e-3, 0.01),
    "seqboat_lra_retrieval": (8, 8, 91_960, 10_000, 3e-3, 0.04),
    "seqboat_lra_image": (50, 1, 180_000, 9_000, 1e-2, 0.02),
    "seqboat_lra_pathfinder": (128, 1, 250_000, 50_000, 1e-2, 0.01),
    "seqboat_lra_path_x": (16, 8, 125_000, 25_000, 1e-2, 0.01),
    "seqboat_speech_commands": (20, 1, 250_000, 10_000, 1e-2, 0.01),
}


def recipe_names() -> list[str]:
    """The presets whose training is published."""
    return [*_CLASSIFIERS, "seqboat_enwik8"]


def recipe(name: str, *, task: Any, **changes: Any) -> TrainSpec:
    """The published model of that name, and how it was trained.

    Path-X: a micro-batch has 16 rows, as many as batch norm saw on the 8 GPUs of the published run.

    Args:
        name: of a preset, such as `seqboat_lra_image`.
        task: a task's spec or its fields: the data, which the official scripts read from their own files.
        **changes: other fields of `TrainSpec`, such as `seed`; they replace the published values.

    Raises:
        ValueError: if no training of that name is published.

    Example:
        >>> spec = recipe("seqboat_lra_image", task={"kind": "digits"})
        >>> spec.steps, spec.batch_size, spec.learning_rate, spec.schedule.warmup
        (180000, 50, 0.01, 9000)
    """
    return TrainSpec.model_validate({**_published(name), "task": task, **changes})


def _published(name: str) -> dict[str, Any]:
    if name == "seqboat_enwik8":
        return {
            "model": {"preset": name},
            "steps": 400_000,
            "batch_size": 1,
            "accumulation": 8,
            "learning_rate": 5e-3,
            "schedule": {"kind": "published", "warmup": 24_000, "start": 2e-3 / 5e-3},
            "optimizer": {**_ADAM, "kind": "radam", "weight_decay": 0.1},
            "clip": 0.25,
        }
    if name not in _CLASSIFIERS:
        raise ValueError(f"no training of {name!r} is published{near(name, recipe_names())}")
    batch_size, accumulation, steps, warmup, learning_rate, weight_decay = _CLASSIFIERS[name]
    return {
        "model": {"preset": name},
        "steps": steps,
        "batch_size": batch_size,
        "accumulation": accumulation,
        "learning_rate": learning_rate,
        "schedule": {
            "kind": "published",
            "warmup": warmup,
            "start": 1e-7 / learning_rate,
            "warmup_power": 2 if name == "seqboat_lra_path_x" else 1,
        },
        "optimizer": {**_ADAM, "weight_decay": weight_decay},
        "clip": 1.0,
    }
