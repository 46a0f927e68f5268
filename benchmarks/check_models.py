"""The properties of models of the transformers library, and of this project's presets, for docs/check.md.

    python -m benchmarks.check_models [--only llama seqboat]

Models have random small weights. What was found is kept in results/check/, one file per model, and the page's
tables and programs are written from these files. `--only` checks some models, without a name none.
"""

import argparse
import json
import re
from pathlib import Path

import torch

from benchmarks.checked_models import MODELS, NOTES, PRESETS
from sma.testing.black_box import Finding, Report, check_model

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "benchmarks" / "results" / "check"
PAGE = ROOT / "docs" / "check.md"
EXAMPLES = 15
"""Inputs per property."""
COLUMNS = {
    "determinism": "same twice",
    "causality": "causal",
    "batch-mates": "batch-mates",
    "right padding": "padding right",
    "left padding": "left",
    "padding's content": "content",
    "packed rows": "packed",
    "decoding one by one": "decoding by one",
    "decoding in chunks": "in chunks",
    "decoding past the window": "past window",
    "decoding, left padding": "left-padded",
    "decoding after another row": "anew",
    "beam reorder": "beams",
    "rows that leave": "leave",
    "rows that join": "join",
    "recomputation": "recompute",
    "gradients of idle parts": "idle parts",
    "bfloat16 drift": "bfloat16",
    "save and load": "save",
}
"""The columns of the tables, by property."""
SIGNS = {"holds": "+", "violated": "**no**", "not tried": ""}
"""What stands in the tables for a verdict, if not its name."""


def table(titles: dict[str, str], reports: dict[str, Report]) -> str:
    """A row per model, a column per property."""
    lines = [["model", *COLUMNS.values()], ["---"] * (1 + len(COLUMNS))]
    for name, report in reports.items():
        cells = []
        for column in COLUMNS:
            finding = report[column]
            drift = column == "bfloat16 drift" and finding.verdict == "holds"
            cells.append(
                f"{finding.difference:.1g}" if drift else SIGNS.get(finding.verdict, finding.verdict)
            )
        lines.append([titles[name], *cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def violations(titles: dict[str, str], reports: dict[str, Report]) -> str:
    """What is violated, each with the program that shows it."""
    parts = []
    for name, report in reports.items():
        for finding in report.violations:
            note = NOTES.get((name, finding.name))
            parts += [
                f"### {titles[name]}: {finding.name}",
                "\n\n".join(
                    text for text in (f"{finding.detail[0].upper()}{finding.detail[1:]}.", note) if text
                ),
                f"```{{code-block}} python\n{finding.program.rstrip()}\n```",
            ]
    return "\n\n".join(parts)


def limits(titles: dict[str, str], reports: dict[str, Report]) -> str:
    """The limits of architectures, each with its reason."""
    found: dict[str, list[str]] = {}
    for name, report in reports.items():
        for finding in report:
            if finding.verdict == "limit":
                found.setdefault(f"{finding.name}: {finding.reason}", []).append(titles[name])
    return "\n".join(f"- {', '.join(names)}, {reason}" for reason, names in found.items())


def not_tried(reports: dict[str, Report]) -> str:
    """Why properties were not tried."""
    found: dict[str, list[str]] = {}
    for report in reports.values():
        for finding in report:
            if finding.verdict == "not tried":
                names = found.setdefault(finding.reason, [])
                names += [finding.name] if finding.name not in names else []
    return "\n".join(f"- {', '.join(names)}: {reason}" for reason, names in found.items())


def page(text: str, reports: dict[str, Report]) -> str:
    """The page with its tables and lists written anew."""
    titles = {name: model.title for name, model in {**MODELS, **PRESETS}.items()}
    models = {name: reports[name] for name in MODELS if name in reports}
    presets = {name: reports[name] for name in PRESETS if name in reports}
    parts = {
        "versions": "With "
        + ", ".join(f"{name} {value}" for name, value in next(iter(models.values())).versions.items()),
        "models": table(titles, models),
        "violations": violations(titles, models),
        "limits": limits(titles, models),
        "not tried": not_tried(models),
        "presets": table(titles, presets),
    }
    for name, part in parts.items():
        text, n = re.subn(
            rf"(<!-- {name} -->\n).*?(<!-- end of {name} -->)",
            lambda match, part=part: f"{match[1]}{part}\n{match[2]}",
            text,
            flags=re.DOTALL,
        )
        assert n == 1, f"no place for {name}"
    return text


def read(path: Path) -> Report:
    """A report from its file."""
    values = json.loads(path.read_text(encoding="utf-8"))
    findings = [
        Finding(**{**finding, "names": tuple(finding.get("names", ()))}) for finding in values["findings"]
    ]
    return Report(**{**values, "findings": tuple(findings)})


def write(report: Report, path: Path) -> None:
    """A report to its file, without what says nothing."""
    values = report.to_dict()
    values["findings"] = [
        {key: value for key, value in finding.items() if value not in (None, "", (), [])}
        for finding in values["findings"]
    ]
    path.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    everything = {**MODELS, **PRESETS}
    parser.add_argument("--only", nargs="*", choices=[*everything], default=[*everything], metavar="MODEL")
    options = parser.parse_args()
    torch.set_num_threads(1)
    FOLDER.mkdir(exist_ok=True)
    for name in options.only:
        model = everything[name]
        report = check_model(model.build(), source=model.source, examples=EXAMPLES, **model.options)
        write(report, FOLDER / f"{name}.json")
        print(f"{name}: {report.seconds:.0f} s", *report.violations, sep="\n    ", flush=True)
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8"), reports()), encoding="utf-8")


def reports() -> dict[str, Report]:
    """What is kept, by model."""
    return {path.stem: read(path) for path in FOLDER.glob("*.json")}


if __name__ == "__main__":
    main()
