"""report.html: one self-contained page about a run."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain

from torch import nn

from sma.activation_map import kinds
from sma.training.figures import draw_accuracy, draw_activation, draw_curves, draw_loss
from sma.training.pages.rendering import render
from sma.training.report.description import cells, describe
from sma.training.report.formats import duration, measure
from sma.training.run.errors import RunError
from sma.training.run.folder import Run
from sma.training.run.records import Facts, Results
from sma.training.tasks.section import Image, Section

STOPPED = {"time limit": "by its time limit", "stopped early": "as its validations got no better"}


def write_report(run: Run, model: nn.Module, sections: Sequence[Section]) -> str:
    """Write report.html and all PNG files from the run's folder and the task's own sections.

    Args:
        run: has facts.json and results.json.
        model: that of the run, whose parts are listed.
        sections: those of the task.

    Returns:
        The path of the page.

    Raises:
        RunError: if a file cannot be written, or facts.json or results.json is missing or damaged.
    """
    facts, results = run.facts(), run.results()
    if facts is None or results is None:
        raise RunError(f"{run.path} lacks facts.json or results.json; write them by: {run.resume}")
    curves = list(_curves(run, results, model))
    for image in chain(curves, *(section.images for section in sections)):
        run.write(image.name, image.png)
    page = render(
        "sma.training.report",
        "report.html.j2",
        title=run.path.name,
        task=facts.task,
        stopped=_stopped(results),
        cards=_cards(results),
        n_units=f"{results.test.n_units:,}",
        unit=results.unit,
        comparison=_comparison(results),
        curves=curves,
        sections=sections,
        parts_of_model=[cells(part) for part in describe(model)],
        facts=_facts(run, facts, results),
        spec=(run.path / "spec.yaml").read_text(encoding="utf-8"),
    )
    return str(run.write("report.html", page))


def mean_rate(results: Results) -> float | None:
    """The share of sub-module activations over all SMA layers; None without such layers."""
    rates = [rate for layer in results.test.activation_rates.values() for rate in layer]
    return sum(rates) / len(rates) if rates else None


def _cards(results: Results) -> list[tuple[str, str]]:
    value, rate = results.value, mean_rate(results)
    return [
        (f"{value:.3f}", f"bits per {results.unit}, test")
        if results.headline == "bits"
        else (f"{100 * value:.1f} %", "test accuracy"),
        ("none", "routed modules")
        if rate is None
        else (f"{100 * rate:.0f} %", "activation rate, all layers"),
        (f"{results.parameters:,}", "parameters"),
        (duration(results.training_seconds), f"training, {results.steps:,} steps"),
    ]


def _stopped(results: Results) -> str:
    """Why a run ended before its time; nothing if it did not."""
    if results.ending == "finished":
        return ""
    return f"{STOPPED.get(results.ending, 'before its end')}, after {results.steps:,} steps"


def _curves(run: Run, results: Results, model: nn.Module) -> Iterator[Image]:
    rows = run.metrics()
    unit = results.unit
    if results.headline == "bits":
        png = draw_curves(rows, label=f"bits per {unit}", baselines=results.baselines)
        yield Image("bits.png", f"Bits per {unit}: lower is better", png)
    else:
        png = draw_accuracy(rows, baselines=results.baselines)
        yield Image("accuracy.png", "Validation accuracy: higher is better", png)
    if not any(row["split"] == "training" for row in rows):
        return  # a run of fewer steps than are between two lines
    if results.test.activation_rates:
        png = draw_activation(
            rows, [kinds(model.get_submodule(name)) for name in results.test.activation_rates]
        )
        yield Image("activation.png", "Activation rate of each routed module, on training batches", png)
    yield Image("loss.png", "Training loss and learning rate (dashed)", draw_loss(rows))


def _comparison(results: Results) -> list[tuple[str, float, str, bool]]:
    """Of this model and each baseline, best first: name, share of the longest bar, measure, whether ours."""
    ours = f"this model, best validation (step {results.best_step})"
    values = {**results.baselines, ours: results.value}
    better = sorted(values, key=lambda name: values[name], reverse=results.headline == "accuracy")
    longest = max(values.values()) or 1.0
    return [
        (name, values[name] / longest, measure(values[name], results.headline, results.unit), name == ours)
        for name in better
    ]


def _facts(run: Run, facts: Facts, results: Results) -> dict[str, Mapping[str, object]]:
    """What one must know to repeat a run, in groups."""
    return {
        "data": facts.data,
        "run": {
            **{f"command {i}": command for i, command in enumerate(facts.commands, 1)},
            "started": facts.started,
            "seed": run.spec().seed,
            "ended": f"{results.ending}, after {results.steps:,} steps",
            "training time": duration(results.training_seconds),
            "best step": results.best_step,
            "parameters": f"{results.parameters:,}",
        },
        "activation, of all that was read in the test": {
            name: ", ".join(f"{100 * rate:.1f} %" for rate in rates)
            for name, rates in results.test.activation_rates.items()
        },
        "versions": facts.versions,
        "machine": facts.machine,
    }
