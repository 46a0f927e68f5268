"""inspection.html: one self-contained page on which a reader picks a layer and an example."""

from pathlib import Path

from sma.architectures.files.atomic import write_whole
from sma.training.figures import draw_rates
from sma.training.inspection.findings import Inspection
from sma.training.pages.rendering import render
from sma.training.run.folder import guard
from sma.training.tasks.section import Image

ON_PAGE = ("columns", "role_names", "classes", "line", "loss_unit", "loss_place", "examples")
"""What the script of the page reads."""


def inspection_page(found: Inspection) -> str:
    """The page, as HTML."""
    values = found.values()
    return render(
        "sma.training.inspection",
        "inspection.html.j2",
        title=f"Decisions of {Path(found.runs[0]).name}",
        found=found,
        shown={name: values[name] for name in ON_PAGE},
        cards=_cards(found),
        curves=_curves(found),
        facts={
            "read": {
                "runs": ", ".join(found.runs),
                "rows": f"{found.n_rows:,} of the {found.split} split, evenly spaced",
                "elements": f"{found.n_elements:,}",
                "loss": found.loss_text,
                "examples": ", ".join(str(example.number) for example in found.examples),
                "flips": f"{sum(len(example.flips) for example in found.examples):,}",
            }
        },
    )


def write_page(found: Inspection, path: Path) -> Path:
    """Write the page to a file, which it replaces.

    Raises:
        RunError: if the file cannot be written.
    """
    with guard(path, "name another file by --out"):
        write_whole(path, inspection_page(found))
    return path


def _cards(found: Inspection) -> list[tuple[str, str]]:
    last = found.worth[-1]
    cards = [
        (f"{100 * sum(found.rates) / len(found.rates):.0f} %", "activation rate, all layers"),
        (_gain(last.gain_active), f"{found.loss_unit} gained by an active decision"),
        (_gain(last.gain_inactive), f"{found.loss_unit} that an inactive one would gain"),
    ]
    if found.needs:
        recall = found.needs[-1].recall
        cards.append(("-" if recall is None else f"{100 * recall:.0f} %", "of needed elements activated"))
    else:
        value = last.confidence.value
        cards.append(("-" if value is None else f"{value:+.2f}", "rank correlation, confidence and gain"))
    return cards


def _gain(value: float | None) -> str:
    return "-" if value is None else f"{value:+.2g}"


def _curves(found: Inspection) -> list[Image]:
    """Activation over training, where the run logged any."""
    steps, rates = found.training.steps, found.training.rates
    if not steps:
        return []
    layers = [column.layer for column in found.columns]
    png = draw_rates(
        steps,
        rates,
        [c.name for c in found.columns],
        [list(dict.fromkeys(layers)).index(layer) for layer in layers],
    )
    return [Image("activation.png", "Over training, on training batches", png)]
