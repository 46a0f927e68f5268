"""comparison.html and comparison.png, made of results.json alone."""

from pathlib import Path

from sma.architectures.files.atomic import write_whole
from sma.training.comparison.figure import COSTS, draw_comparison, front, mean_points
from sma.training.comparison.measurements import Comparison
from sma.training.comparison.statistics import summary
from sma.training.comparison.tables import (
    amount,
    budget_table,
    crossing_lines,
    missing_lines,
    shown,
    unit,
)
from sma.training.pages.rendering import render
from sma.training.run.folder import guard
from sma.training.tasks.section import Image

PAGE, FIGURE = "comparison.html", "comparison.png"
MEANINGS = {
    "always": "the same model, every element of which activates every routed part",
    "never": "the same model without its routed parts",
    "random": "the same model, each layer at random at its mean rate in training with the same seed",
    "window": "attention over its window alone: always active, without the mixers before it",
    "wider": "the model without routed parts, as wide as the operations of routing in the same seed allow",
}


def write_pages(folder: Path, comparison: Comparison) -> Path:
    """Write the page and the figure of a comparison into its folder.

    Raises:
        RunError: if one cannot be written.
    """
    png = draw_comparison(comparison)
    page = comparison_page(comparison, folder.resolve().name, png)
    with guard(folder, "free some space, then give the same command again"):
        write_whole(folder / FIGURE, png)
        write_whole(folder / PAGE, page)
    return folder / PAGE


def comparison_page(comparison: Comparison, name: str, png: bytes) -> str:
    """The page, as HTML.

    Args:
        comparison: what was measured.
        name: its title.
        png: the figure.
    """
    caption = f"Mean and standard deviation over seeds; one point per budget of {comparison.match}"
    found = [budget_table(comparison, budget) for budget in comparison.budgets]
    return render(
        "sma.training.comparison",
        "comparison.html.j2",
        title=f"Comparison {name}",
        comparison=comparison,
        cards=_cards(comparison),
        tables=[table for table in found if table.rows],
        figure=Image(FIGURE, caption, png),
        fronts=[(label, _front(comparison, i)) for i, (label, _) in enumerate(COSTS)],
        crossings=crossing_lines(comparison),
        missing=missing_lines(comparison),
        meanings={model.name: _meaning(model.control, model.of, model.source) for model in comparison.models},
        facts={
            "data": comparison.data,
            "runs": {
                "budgets": ", ".join(f"{amount(budget)} {comparison.match}" for budget in comparison.budgets),
                "seeds": ", ".join(map(str, comparison.seeds)),
                "runs": f"{len(comparison.runs):,} finished, {len(comparison.missing):,} not",
            },
            "versions": comparison.versions,
            "machine": comparison.machine,
        },
    )


def _cards(comparison: Comparison) -> list[tuple[str, str]]:
    """The best model of each budget, up to four."""
    cards = []
    for budget in comparison.budgets[-4:]:
        reached = {
            model.name: summary([run.quality for run in runs.values()]).mean
            for model in comparison.models
            if (runs := comparison.of(model.name, budget))
        }
        if reached:
            choose = min if comparison.lower_is_better else max
            best = choose(reached, key=lambda name: reached[name])
            value = shown(reached[best], comparison.headline) + unit(comparison.headline)
            cards.append((value, f"{best}, the best with {amount(budget)} {comparison.match}"))
    return cards


def _front(comparison: Comparison, cost: int) -> str:
    points = mean_points(comparison, COSTS[cost][1])
    found = front(points, lower_is_better=comparison.lower_is_better)
    return ", ".join(f"{name} ({amount(budget)})" for name, budget in found) or "not measured"


def _meaning(control: str | None, of: str | None, source: str) -> str:
    return source if control is None else f"control of {of}: {MEANINGS[control]}"
