"""The list of tasks and published runs."""

from collections.abc import Callable
from typing import Any

from sma.spec.registry import kinds
from sma.training.recipes import recipe_names
from sma.training.tasks import TaskSpec


def test_every_task_and_recipe_is_listed_with_how_it_is_started(sma: Callable[..., Any]) -> None:
    output = sma("tasks").output
    lines = {line.split()[1]: line for line in output.splitlines() if line.startswith("│")}
    assert lines.keys() >= {*kinds(TaskSpec), *recipe_names()}
    assert "--task digits" in lines["digits"]
    assert "--recipe seqboat_lra_text --set task.folder=..." in lines["lra_text"]
    assert "lra_retrieval, python_docs" in lines["seqboat_lra_retrieval"]
