"""Published runs by name: on their task, on another of its form, and refused on what has another form."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from sma.training.recipes import recipe, recipe_names
from sma.training.settings.specs import recipe_spec, run_spec

FOLDER = (("task", "folder"), "data")


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_names_its_own_task(name: str) -> None:
    spec = run_spec(None, None, [FOLDER, (("steps",), 7)], name)
    assert spec == recipe(name, task={"folder": "data"}, steps=7)
    assert name.removeprefix("seqboat_").startswith(spec.task.kind.removesuffix("_pathfinder"))


def test_a_recipe_on_another_task_of_its_form() -> None:
    spec = recipe_spec("seqboat_lra_path_x", "pathfinder", [(("task", "n_test"), 5)])
    assert (spec.task.kind, spec.task.side, spec.task.n_test) == ("pathfinder", 128, 5)


def test_a_file_and_a_recipe(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--spec and --recipe both say what is trained"):
        run_spec(tmp_path / "run.yaml", None, [], "seqboat_lra_text")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (
            ["seqboat_lra_image", "--task", "news"],
            "is for rows of at most 1,024 numbers in 10 classes, as in lra_image or fashion_mnist or digits",
        ),
        (["seqboat_lra_text"], "task.folder: is missing; set it"),
        (["seqboat_lra_txt"], "did you mean seqboat_lra_text"),
        (["seqboat_lra_path_x", "--set", "task.kind=pathfinder"], "task.side=32; set task.side=128"),
        (["seqboat_lra_listops", "--set", "task.folder=/nowhere"], "/nowhere' is not a folder; name the one"),
    ],
)
def test_refusals_are_one_line(sma: Callable[..., Any], arguments: list[str], told: str) -> None:
    result = sma("train", "--recipe", *arguments)
    assert result.exit_code == 2
    assert told in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_init_writes_the_published_run(sma: Callable[..., Any]) -> None:
    result = sma("init", "seqboat_lra_text", "--recipe", "--set", "task.folder=imdb")
    values = yaml.safe_load(result.stdout)
    assert (values["task"]["folder"], values["steps"], values["kind"]) == ("imdb", 25_000, "training")
