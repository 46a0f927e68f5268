"""What the `sma` command does, once its arguments are read."""

import json
import sys
from pathlib import Path
from typing import Any, cast

from rich.console import Console
from rich.table import Table

from sma.architectures import SequenceModel, load_model, parse_spec
from sma.architectures.files.yaml import read_yaml
from sma.architectures.models.base import ModelSpec
from sma.architectures.presets.by_name import model_presets, starting_sizes
from sma.architectures.presets.seqboat_published import PUBLISHED_PARAMETERS
from sma.architectures.published.load import parameters_published
from sma.checks import near
from sma.training import results
from sma.training.cli.display import Display, rates
from sma.training.cli.overrides import apply_overrides, parse_assignment
from sma.training.config import TrainSpec
from sma.training.evaluation import evaluate as score
from sma.training.generation import generate as generate_bytes
from sma.training.presets import run_names, run_values
from sma.training.report.description import describe as parts_of
from sma.training.report.description import operations, routed_flops
from sma.training.report.page import measure, write_report
from sma.training.report.picture import parts_table, picture
from sma.training.run.checkpoints import read_position
from sma.training.run.folder import Run
from sma.training.tasks.task import Split
from sma.training.train import resume as resume_run
from sma.training.train import train as train_run
from sma.training.trainer import Ending

INTERRUPTED = 130


def train(spec: TrainSpec, out: Path, name: str | None) -> int:
    """Train in a new folder and show the result; the exit code."""
    console = Console()
    with Display(console) as display:
        run, ending = train_run(spec, root=out, name=name, observer=display, command=results.this_command())
    return _conclude(console, run, ending)


def resume(run: Run, spec: TrainSpec) -> int:
    """Go on with a run and show the result; the exit code."""
    console = Console()
    with Display(console) as display:
        ending = resume_run(run, spec, observer=display, command=results.this_command())
    return _conclude(console, run, ending)


def evaluate(path: Path, *, split: str, weights: str, batch_size: int | None) -> None:
    """Score the weights of a run and show the result."""
    run = Run.open(path)
    spec = TrainSpec.model_validate(run.values())
    model = results.best_model(run) if weights == "best" else results.last_model(run, spec.model)
    task = spec.task.build()
    results.check_data(run, task)
    found = score(model, task, cast(Split, split), batch_size=batch_size or spec.batch_size)
    table = Table(title=f"{run.path}: {weights} weights on the {split} split", title_justify="left")
    table.add_column("measure")
    table.add_column("value", justify="right")
    table.add_row(f"bits per {task.unit}", f"{found.bits:.4f}")
    table.add_row("accuracy", f"{100 * found.accuracy:.2f} %")
    table.add_row(f"{task.unit}s", f"{found.n_targets:,}")
    table.add_row("active per layer", rates(found.activation_rates))
    table.add_row("seconds", f"{found.seconds:.1f}")
    Console().print(table)


def report(path: Path) -> None:
    """Test a run's best weights and write its report anew."""
    run = Run.open(path)
    spec = TrainSpec.model_validate(run.values())
    task = spec.task.build()
    results.check_data(run, task)
    position = read_position(run)
    before = run.read_json("results.json") or {"ending": "interrupted"}
    model, test = results.write_results(run, spec, task, position, before["ending"])
    print(write_report(run, task.sections(model, test)))


def describe(target: str, changes: list[str]) -> None:
    """Show what the model of a spec, a run or a preset consists of."""
    spec = spec_of(target, changes)
    model = spec.build()
    parts = parts_of(model)
    console = Console()
    console.print(picture(spec))
    always, at_most = operations(parts)
    totals = {"all": always}
    if any(part.routed for part in parts):
        rates = {} if changes else _measured_rates(Path(target))
        measured = (
            {"all, as measured in the run's test": always + routed_flops(model, rates)} if rates else {}
        )
        totals = {"all, nothing active": always, **measured, "all, at most": at_most}
    table = parts_table(target, parts, totals, console.width)
    if target in PUBLISHED_PARAMETERS and not changes:
        reason = parameters_published(cast(SequenceModel, model).spec).reason
        table.add_row("published", "", f"{PUBLISHED_PARAMETERS[target]:,}", "")
        table.caption = f"{table.caption} Published: {reason or 'the same parameters'}."
    console.print(table)


def generate(path: Path, prompt: str, *, stop: list[str], **options: Any) -> None:
    """Write a prompt and what a language model makes of it, byte by byte."""
    model = load_model(path) if (path / "spec.json").is_file() else results.best_model(Run.open(path))
    text = generate_bytes(model, prompt.encode(), stop=[end.encode() for end in stop], **options)
    out = sys.stdout.buffer
    out.write(prompt.encode())
    for byte in text:
        out.write(bytes([byte]))
        out.flush()
    out.write(b"\n")
    out.flush()


def _conclude(console: Console, run: Run, ending: Ending) -> int:
    found = run.read_json("results.json")
    headline, unit = found["headline"], found["unit"]
    ours = {"this model": found["test"][headline]}
    table = Table(title=f"Test: {found['test']['n_targets']:,} held-out {unit}s", title_justify="left")
    table.add_column("method")
    table.add_column("result", justify="right")
    values = {**found["baselines"], **ours}
    for name in sorted(values, key=lambda name: values[name], reverse=headline == "accuracy"):
        table.add_row(name, measure(values[name], headline, unit), style="bold" if name in ours else "")
    console.print(table)
    console.print(f"active per layer: {rates(found['test']['activation_rates'])}", highlight=False)
    console.print(f"report: {run.path / 'report.html'}", highlight=False, soft_wrap=True)
    if ending == "interrupted":
        console.print(f"stopped; go on with: sma train --resume {run.path}", highlight=False, soft_wrap=True)
        return INTERRUPTED
    return 0


def _measured_rates(path: Path) -> dict[str, list[float]]:
    """The activation rates that a run's test found; none if this is no run, or one without a test."""
    if not (path / "results.json").is_file():
        return {}
    return json.loads((path / "results.json").read_text())["test"]["activation_rates"]


def spec_of(target: str, changes: list[str]) -> ModelSpec:
    """The spec of a model that a YAML or JSON file, a run, a model's folder or a preset holds."""
    path = Path(target)
    if (path / "spec.yaml").is_file():
        values: dict[str, Any] = read_yaml(path / "spec.yaml")
    elif (path / "spec.json").is_file():
        values = read_yaml(path / "spec.json")
    elif path.is_file():
        values = read_yaml(path)
    elif target in run_names():
        values = run_values(target)
    elif target in model_presets():
        return preset_spec(target, changes)
    elif path.is_dir():
        raise ValueError(f"{target} is a folder without spec.yaml or spec.json; name a run's or a model's")
    else:
        known = [*run_names(), *model_presets()]
        raise ValueError(f"{target!r} is no file, no run's folder and no preset{near(target, known)}")
    return _changed(values, changes)


def preset_spec(preset: str, changes: list[str]) -> ModelSpec:
    """The spec of a model's preset, with sizes to begin with; `changes` set its options or fields."""
    sizes = starting_sizes(preset)
    if any(path in {("d_input",), ("model", "d_input")} for path, _ in map(parse_assignment, changes)):
        sizes.pop("vocab_size", None)
    return _changed({"preset": preset, **sizes}, changes)


def _changed(values: dict[str, Any], changes: list[str]) -> ModelSpec:
    """The spec of a model, or of a run's, with some fields set."""
    model = values.get("model", values)
    wrapped = {"model": model, "task": "digits"}  # the task plays no part
    assignments = [parse_assignment(change) for change in changes]
    if "model" not in values:
        assignments = [(key if key[0] == "model" else ("model", *key), value) for key, value in assignments]
    return parse_spec(apply_overrides(wrapped, assignments)["model"])
