"""The report of a sparsified model: report.json, and a self-contained page."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch

from sma.architectures.files.atomic import write_whole
from sma.training.differences import differences, name_differences
from sma.training.pages.rendering import render
from sma.training.run.folder import guard
from sma.training.sparsification.distillation import Distillation
from sma.training.sparsification.sparsified_folder import REPORT, damaged, read_values
from sma.training.sparsification.sparsify_measures import Measures
from sma.transformers import SparsifySpec

N_TOKENS = 12
_FOLLOWING = ("data_hash", "n_held_out")
"""Fields that differ where others do: data and length."""
MISSED = 0.05
"""A difference of the share that is computed from the rate which is said."""
NAMES = {
    "dense": "dense",
    "learned": "sparse, learned",
    "random": "skipping at random at the same rates",
    "dropped": "parts dropped for good",
}


@dataclass(frozen=True)
class SparsifyReport:
    """What was done, and what came of it.

    Attributes:
        model: the name of the dense model.
        data: the files.
        data_hash: of their rows.
        spec: what tokens may skip.
        settings: of the distillation.
        batch_size: rows of a batch.
        length: tokens of a row at most.
        n_held_out: held-out rows that are measured on.
        n_wanted: as many were asked for, if there are so many.
        seed: of batches and random skipping.
        measures: the dense model's, the learned one's, and those of the controls, as far as they are made.
    """

    model: str
    data: list[str]
    data_hash: str
    spec: SparsifySpec
    settings: Distillation
    batch_size: int
    length: int
    n_held_out: int
    n_wanted: int
    seed: int
    measures: list[Measures]

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Heads and rows: quality, operations and time of every model."""
        measured = list(self.measures[0].quality)
        rows = [
            [
                NAMES[each.name],
                *(f"{each.quality[name]:.4g}" for name in measured),
                f"{100 * each.parts:.1f} %"
                + (f" (asked for: {100 * self.spec.rate:.4g} %)" if each.name == "learned" else ""),
                f"{100 * each.operations:.1f} %",
                f"{100 * each.time:.0f} %",
            ]
            for each in self.measures
        ]
        return ["model", *measured, "operations of the parts", "of the model", "time"], rows

    def notes(self) -> list[str]:
        """What is not as it was asked for, each in one line, with the remedy."""
        found = []
        if self.n_held_out < self.n_wanted:
            found.append(
                f"{self.n_held_out} held-out rows were measured on, not {self.n_wanted}: there are no more; "
                "name more text for more"
            )
        share = next((each.parts for each in self.measures if each.name == "learned"), self.spec.rate)
        if abs(share - self.spec.rate) > MISSED:
            found.append(
                f"the rate is missed: {100 * share:.0f} % of the parts' operations are computed, "
                f"{100 * self.spec.rate:.4g} % were asked for; take more steps (now {self.settings.steps}), "
                "or set by --set a higher router_learning_rate (now "
                f"{self.settings.router_learning_rate:g}) or coefficient (now {self.spec.coefficient:g})"
            )
        return found


def write_report(report: SparsifyReport, folder: Path) -> None:
    """Write report.json into a folder, and report.html if there is a learned model.

    Raises:
        RunError: if a file cannot be written.
    """
    values = _fields(report) | {
        "measures": [asdict(each) for each in report.measures],
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }
    contents = {folder / REPORT: json.dumps(values, indent=1) + "\n"}
    if any(each.name == "learned" for each in report.measures):
        contents[folder / "report.html"] = page(report)
    with guard(folder, "name another folder by --out"):
        folder.mkdir(parents=True, exist_ok=True)
        for path, content in contents.items():
            write_whole(path, content)


def resume(report: SparsifyReport, folder: Path) -> None:
    """Take over the measures of a folder's report, which must have been made in the same way.

    Raises:
        ValueError: if it was made otherwise; the message names the fields.
        RunError: if the report is damaged.
    """
    values = read_values(folder)
    now = _fields(report)
    try:
        now.pop("n_wanted")  # what was measured is n_held_out
        then = {name: values[name] for name in now}
        measures = [Measures(**each) for each in values["measures"]]
    except (KeyError, TypeError) as error:
        raise damaged(folder, error) from error
    found = list(differences(then, now))
    if found:
        found = [each for each in found if each[0] not in _FOLLOWING] or found
        raise ValueError(
            f"{folder} exists already and was made otherwise: {name_differences(found)}; resume "
            "without changing these, or name a new folder"
        )
    report.measures.extend(measures)


def _fields(report: SparsifyReport) -> dict[str, Any]:
    """How a report was made, as JSON."""
    own = {each.name: getattr(report, each.name) for each in fields(report) if each.name != "measures"}
    return own | {name: own[name].model_dump(mode="json") for name in ("spec", "settings")}


def page(report: SparsifyReport) -> str:
    """The page, as HTML."""
    learned = next(each for each in report.measures if each.name == "learned")
    heads, rows = report.table()
    tokens = list(learned.tokens.items())
    return render(
        "sma.training.sparsification",
        "sparsify.html.j2",
        title=f"{Path(report.model).name}, made sparse",
        cards=[
            (f"{100 * learned.operations:.0f} %", "of the dense model's operations"),
            (f"{100 * learned.parts:.0f} %", f"of the parts', {100 * report.spec.rate:.4g} % asked for"),
            (f"{100 * learned.time:.0f} %", "of its processor time"),
            *((f"{value:.3g}", name) for name, value in learned.quality.items()),
        ],
        heads=heads,
        rows=rows,
        notes=report.notes(),
        rates=[
            (name, rate, f"{100 * rate:.0f} %", False)
            for name, rate in learned.rates.items()  # of real tokens
        ],
        skipped=_shares(tokens[:N_TOKENS]),
        computed=_shares(reversed(tokens[-N_TOKENS:])),
        facts={
            "run": {"model": report.model, "data": ", ".join(report.data), "seed": report.seed},
            "spec": report.spec.model_dump(mode="json", exclude={"kind"}),
            "distillation": report.settings.model_dump(mode="json")
            | {"batch_size": report.batch_size, "length": report.length, "rows": report.n_held_out},
            "machine": {"torch": torch.__version__, "threads": torch.get_num_threads()},
        },
    )


def _shares(tokens: Iterable[tuple[str, float]]) -> list[tuple[str, str]]:
    """Tokens as a reader can tell them apart, and their shares in per cent."""
    return [(token.replace("\n", "↵").replace(" ", "␣"), f"{100 * share:.0f} %") for token, share in tokens]
