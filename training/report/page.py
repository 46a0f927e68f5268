"""report.html: one self-contained page about a run."""

import base64
import html
from collections.abc import Mapping, Sequence

from sma.training.figures import draw_accuracy, draw_activation, draw_curves, draw_loss
from sma.training.report.formats import duration, measure
from sma.training.run.errors import RunError
from sma.training.run.folder import Run
from sma.training.run.records import Facts, Results
from sma.training.tasks.section import Image, Section


def write_report(run: Run, sections: Sequence[Section]) -> str:
    """Write report.html and all PNG files from the run's folder and the task's own sections.

    Returns:
        The path of the page.

    Raises:
        RunError: if a file cannot be written, or facts.json or results.json is missing or damaged.
    """
    facts, results = run.facts(), run.results()
    if facts is None or results is None:
        raise RunError(f"{run.path} lacks facts.json or results.json; write them by: {run.resume}")
    everything = [*_curves(run, results), *sections, _facts(run, facts, results)]
    for section in everything:
        for image in section.images:
            run.write(image.name, image.png)
    body = "\n".join(_section(section) for section in everything)
    page = _PAGE.format(title=html.escape(run.path.name), head=_head(run, facts, results), body=body)
    return str(run.write("report.html", page))


def mean_rate(results: Results) -> float | None:
    """The share of sub-module activations over all SMA layers; None without such layers."""
    rates = [rate for layer in results.test.activation_rates.values() for rate in layer]
    return sum(rates) / len(rates) if rates else None


def _head(run: Run, facts: Facts, results: Results) -> str:
    value = results.value
    rate = mean_rate(results)
    number, unit = (
        (f"{value:.3f}", f"bits per {results.unit}, test")
        if results.headline == "bits"
        else (f"{100 * value:.1f} %", "test accuracy")
    )
    cards = [
        (number, unit),
        ("none" if rate is None else f"{100 * rate:.0f} %", "activation rate, all layers"),
        (f"{results.parameters:,}", "parameters"),
        (duration(results.training_seconds), f"training, {results.steps:,} steps"),
    ]
    shown = "".join(
        f"<div class=card><b>{html.escape(a)}</b><span>{html.escape(b)}</span></div>" for a, b in cards
    )
    stopped = ""
    if results.ending != "finished":
        why = {"time limit": "by its time limit", "stopped early": "as its validations got no better"}.get(
            results.ending, "before its end"
        )
        stopped = f"<p class=note>This run was stopped {why}, after {results.steps:,} steps.</p>"
    title, task = html.escape(run.path.name), html.escape(facts.task)
    return f"<h1>{title}</h1><p class=lead>{task}</p>{stopped}<div class=cards>{shown}</div>"


def _curves(run: Run, results: Results) -> list[Section]:
    rows = run.metrics()
    headline, unit = results.headline, results.unit
    if headline == "bits":
        png = draw_curves(rows, label=f"bits per {unit}", baselines=results.baselines)
        progress = Image("bits.png", f"Bits per {unit}: lower is better", png)
    else:
        png = draw_accuracy(rows, baselines=results.baselines)
        progress = Image("accuracy.png", "Validation accuracy: higher is better", png)
    images = [progress]
    if results.test.activation_rates:
        png = draw_activation(rows)
        images.append(Image("activation.png", "Activation rate of each layer, on training batches", png))
    images.append(Image("loss.png", "Training loss and learning rate (dashed)", draw_loss(rows)))
    return [Section("Result", _comparison(results)), Section("Training", "", images)]


def _comparison(results: Results) -> str:
    headline, unit = results.headline, results.unit
    ours = f"this model, best validation (step {results.best_step})"
    values = {**results.baselines, ours: results.value}
    better = sorted(values, key=lambda name: values[name], reverse=headline == "accuracy")
    longest = max(values.values()) or 1.0
    rows = "".join(
        f"<tr{' class=ours' if name == ours else ''}><td>{html.escape(name)}</td>"
        f"<td class=bar><i style='width:{100 * values[name] / longest:.1f}%'></i></td>"
        f"<td class=number>{html.escape(measure(values[name], headline, unit))}</td></tr>"
        for name in better
    )
    note = f"All on the same {results.test.n_units:,} held-out {unit}s, best first."
    return f"<p>{note}</p><table class=bars>{rows}</table>"


def _facts(run: Run, facts: Facts, results: Results) -> Section:
    seed = run.spec().seed
    groups: dict[str, Mapping[str, object]] = {
        "data": facts.data,
        "run": {
            **{f"command {i}": command for i, command in enumerate(facts.commands, 1)},
            "started": facts.started,
            "seed": str(seed),
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
    rows = "".join(
        f"<tr><th colspan=2>{html.escape(title)}</th></tr>"
        + "".join(
            f"<tr><td>{html.escape(str(k))}</td><td><code>{html.escape(str(v))}</code></td></tr>"
            for k, v in group.items()
        )
        for title, group in groups.items()
        if group
    )
    spec = html.escape((run.path / "spec.yaml").read_text(encoding="utf-8"))
    details = f"<details><summary>The whole spec</summary><pre>{spec}</pre></details>"
    return Section("How to repeat this", f"<table class=facts>{rows}</table>{details}")


def _section(section: Section) -> str:
    images = "".join(
        f'<figure><img alt="{html.escape(image.caption)}" '
        f'src="data:image/png;base64,{base64.b64encode(image.png).decode()}">'
        f"<figcaption>{html.escape(image.caption)}</figcaption></figure>"
        for image in section.images
        if image.embed
    )
    return f"<section><h2>{html.escape(section.title)}</h2>{section.body}{images}</section>"


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ --ink: #1f2933; --faint: #616e7c; --line: #e4e7eb; --accent: #0f766e; --paper: #fff; }}
* {{ box-sizing: border-box; }}
body {{ margin: 0 auto; max-width: 62rem; padding: 2.5rem 1.5rem 4rem; color: var(--ink);
  background: var(--paper);
  font: 16px/1.55 system-ui, "Segoe UI", Roboto, "Helvetica Neue", "DejaVu Sans", sans-serif; }}
h1 {{ font-size: 1.9rem; margin: 0; letter-spacing: -0.01em; }}
h2 {{ font-size: 1.25rem; margin: 3rem 0 0.75rem; padding-bottom: 0.35rem;
  border-bottom: 1px solid var(--line); }}
h3 {{ font-size: 1rem; margin: 1.5rem 0 0.5rem; }}
.lead {{ color: var(--faint); margin: 0.25rem 0 1.5rem; }}
.note {{ border-left: 4px solid #c2410c; padding: 0.4rem 0.8rem; background: #fff7ed; }}
.cards {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr)); gap: 0.75rem; }}
.card {{ border: 1px solid var(--line); border-radius: 0.6rem; padding: 0.9rem 1rem; }}
.card b {{ display: block; font-size: 1.5rem; line-height: 1.2; font-variant-numeric: tabular-nums; }}
.card:first-child b {{ color: var(--accent); }}
.card span {{ color: var(--faint); font-size: 0.85rem; }}
table {{ border-collapse: collapse; width: 100%; }}
td {{ padding: 0.3rem 0.6rem 0.3rem 0; vertical-align: top; border-bottom: 1px solid var(--line); }}
.bars td {{ vertical-align: middle; white-space: nowrap; }}
.bars .bar {{ width: 55%; }}
.bars i {{ display: block; height: 0.8rem; border-radius: 0.2rem; background: #cbd2d9; }}
.bars .ours {{ font-weight: 600; }}
.bars .ours i {{ background: var(--accent); }}
.number {{ text-align: right; font-variant-numeric: tabular-nums; }}
.facts th {{ text-align: left; padding: 1.1rem 0 0.2rem; color: var(--faint); font-size: 0.8rem;
  text-transform: uppercase; letter-spacing: 0.06em; }}
.facts td:first-child {{ white-space: nowrap; width: 12rem; color: var(--faint); }}
.facts td {{ font-size: 0.9rem; overflow-wrap: anywhere; }}
code, pre {{ font-family: ui-monospace, "SFMono-Regular", Menlo, Consolas, "DejaVu Sans Mono", monospace; }}
pre {{ font-size: 0.8rem; line-height: 1.5; overflow-x: auto; padding: 0.9rem 1rem;
  border: 1px solid var(--line); border-radius: 0.6rem; }}
.legend span {{ display: inline-block; min-width: 2rem; text-align: center; border: 1px solid var(--line);
  margin-right: 0.25rem; border-radius: 0.25rem; font-size: 0.85rem; }}
figure {{ margin: 1.25rem 0 0; }}
figure img {{ max-width: 100%; }}
figcaption {{ color: var(--faint); font-size: 0.85rem; }}
details {{ margin-top: 1.5rem; }}
summary {{ cursor: pointer; }}
</style>
</head>
<body>
{head}
{body}
</body>
</html>
"""
