"""The command that lists what can be trained on, and the published runs."""

import inspect


def tasks() -> None:
    """List the tasks and the published runs, and what each is started with."""
    from rich.table import Table

    from sma.spec.registry import kinds
    from sma.training.cli.display import output
    from sma.training.presets import run_names
    from sma.training.recipes import recipe_names, recipe_tasks
    from sma.training.tasks import TaskSpec

    ready = run_names()
    table = Table("task", "start it with", "data", title="Tasks", title_justify="left")
    for kind, spec in sorted(kinds(TaskSpec).items()):
        required = [name for name, field in spec.model_fields.items() if field.is_required()]
        sets = "".join(f" --set task.{name}=..." for name in required)
        recipes = [name for name in recipe_names() if kind in recipe_tasks(name)[:1]]
        start = f"--task {kind}" if kind in ready else f"--recipe {recipes[0]}" if recipes else "--spec FILE"
        table.add_row(kind, start + sets, (inspect.getdoc(spec) or "").partition("\n")[0])
    published = Table("recipe", "tasks that it is for", title="Published runs", title_justify="left")
    for name in recipe_names():
        published.add_row(name, ", ".join(recipe_tasks(name)))
    console = output()
    console.print(table)
    console.print(published)
    console.print("sma train --task TASK, or sma train --recipe RECIPE [--task TASK]")
