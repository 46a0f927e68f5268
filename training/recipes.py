"""Recipes: the training runs of the published SeqBoat models (https://arxiv.org/abs/2306.11197).

The values are those of the official training scripts (https://github.com/renll/SeqBoat, commit 5a34aed).
Where those used 8 GPUs, the same batch is accumulated here.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from sma.checks import near
from sma.training.config import TrainSpec

_ADAM = {"kind": "adamw", "betas": (0.9, 0.98), "eps": 1e-8, "decayed": "all"}

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


class _Reads(NamedTuple):
    """What the model of a recipe reads.

    Attributes:
        what: in words.
        tasks: fields of the tasks that it is for, its own first.
    """

    what: str
    tasks: tuple[dict[str, Any], ...]


_READS = {
    "seqboat_lra_listops": _Reads(
        "rows of at most 2,002 tokens in 10 classes", ({"kind": "lra_listops"}, {"kind": "listops"})
    ),
    "seqboat_lra_text": _Reads(
        "rows of bytes in 2 classes", ({"kind": "lra_text"}, {"kind": "table_classification"})
    ),
    "seqboat_lra_retrieval": _Reads(
        "pairs of rows of at most 4,002 bytes in 2 classes",
        ({"kind": "lra_retrieval"}, {"kind": "python_docs", "max_length": 4000}),
    ),
    "seqboat_lra_image": _Reads(
        "rows of at most 1,024 numbers in 10 classes",
        ({"kind": "lra_image"}, {"kind": "fashion_mnist"}, {"kind": "digits"}),
    ),
    "seqboat_lra_pathfinder": _Reads(
        "images of 32 x 32 pixels in 2 classes",
        ({"kind": "lra_pathfinder", "side": 32}, {"kind": "pathfinder", "side": 32}),
    ),
    "seqboat_lra_path_x": _Reads(
        "images of 128 x 128 pixels in 2 classes",
        ({"kind": "lra_pathfinder", "side": 128}, {"kind": "pathfinder", "side": 128}),
    ),
    "seqboat_speech_commands": _Reads(
        "raw audio in 10 classes", ({"kind": "speech_commands"}, {"kind": "synthetic_speech"})
    ),
    "seqboat_enwik8": _Reads(
        "bytes, each of which is predicted",
        tuple(
            {"kind": kind, "length": 8192, "evaluation_length": 8192}
            for kind in ("enwik8", "gcide", "python_source", "text_files", "table_text")
        ),
    ),
}


def recipe_names() -> list[str]:
    """The presets whose training is published."""
    return list(_READS)


def recipe_tasks(name: str) -> list[str]:
    """The kinds of tasks that a recipe is for, its own first.

    Raises:
        ValueError: if no training of that name is published.
    """
    return [task["kind"] for task in _reads(name).tasks]


def recipe(name: str, *, task: Any = None, **changes: Any) -> TrainSpec:
    """The published model of that name, and how it was trained.

    Path-X: a micro-batch has 16 rows, as many as batch norm saw on the 8 GPUs of the published run. enwik8:
    the 256 bytes are read, where the published dictionary has 208 symbols.

    Args:
        name: of a preset, such as `seqboat_lra_image`.
        task: a task's spec or its fields, or a kind. Fields without a kind, such as `{"folder": "data"}`, are
            those of the recipe's own task.
        **changes: other fields of `TrainSpec`, such as `seed`; they replace the published values.

    Raises:
        ValueError: if no training of that name is published, or the task is of another form.

    Example:
        >>> spec = recipe("seqboat_lra_image", task={"folder": "data/cifar"})
        >>> spec.task.kind, spec.steps, spec.batch_size, spec.learning_rate, spec.schedule.warmup
        ('lra_image', 180000, 50, 0.01, 9000)
    """
    given = {"kind": task} if isinstance(task, str) else task
    if given is None or isinstance(given, Mapping):
        given = {**({} if given is None else given)}
        given = {**task_values(name, given.get("kind")), **given}
    values = {**recipe_values(name), "task": given, **changes}
    return check_recipe(name, TrainSpec.model_validate(values))


def task_values(name: str, kind: str | None = None) -> dict[str, Any]:
    """The fields of a recipe's own task, or of that kind if the recipe is for it.

    Raises:
        ValueError: if no training of that name is published.
    """
    tasks = _reads(name).tasks
    wanted = tasks[0]["kind"] if kind is None else kind
    return dict(next((task for task in tasks if task["kind"] == wanted), {"kind": wanted}))


def check_recipe(name: str, spec: TrainSpec) -> TrainSpec:
    """The same spec, if its task has the form that the recipe's model reads.

    Tasks of other packages are left to the check that comes before training, which runs one row.

    Raises:
        ValueError: if it has another one; the message says which tasks have it.
    """
    reads = _reads(name)
    kind = spec.task.kind
    if kind not in recipe_tasks(name) and type(spec.task).__module__.startswith("sma."):
        raise ValueError(
            f"recipe {name} is for {reads.what}, as in {' or '.join(recipe_tasks(name))}, and not for "
            f"task.kind={kind}; name one of these, or leave out the recipe"
        )
    side, given = task_values(name, kind).get("side"), getattr(spec.task, "side", None)
    if side is not None and given is not None and given != side:
        raise ValueError(f"recipe {name} is for {reads.what}, got task.side={given}; set task.side={side}")
    return spec


def _reads(name: str) -> _Reads:
    if name not in _READS:
        raise ValueError(f"no training of {name!r} is published{near(name, recipe_names())}")
    return _READS[name]


def recipe_values(name: str) -> dict[str, Any]:
    """The fields of a published run but for its task, for `TrainSpec.model_validate`.

    It is validated after every hundredth of the steps.

    Raises:
        ValueError: if no training of that name is published.
    """
    _reads(name)
    published = _published(name)
    return {**published, "validation_interval": published["steps"] // 100}


def _published(name: str) -> dict[str, Any]:
    if name == "seqboat_enwik8":
        return {
            "model": {"preset": name, "vocab_size": 256},
            "steps": 400_000,
            "batch_size": 1,
            "accumulation": 8,
            "learning_rate": 5e-3,
            "schedule": {"kind": "published", "warmup": 24_000, "start": 2e-3 / 5e-3},
            "optimizer": {**_ADAM, "kind": "radam", "weight_decay": 0.1},
            "clip": 0.25,
        }
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
