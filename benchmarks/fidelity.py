"""Measure how closely the published figures are met, and rewrite the tables of docs/fidelity.md.

python -m benchmarks.fidelity
"""

import re
import sys
import warnings
from collections.abc import Iterable
from pathlib import Path

import torch

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from golden import compare, oracle  # noqa: E402

from sma import architectures  # noqa: E402
from sma.architectures.published.load import parameters_published  # noqa: E402

PAGE = ROOT / "docs" / "fidelity.md"
COLUMNS = ("output", "confidence", "input gradient", "parameter gradients")
KINDS = {
    "standalone_ema": "EMA alone",
    "standalone_layer": "layer, standalone file",
    "fairseq_unit": "layer, training code",
    "standalone_model": "two-layer model, standalone file",
    "fairseq_lra": "classifiers, training code",
    "fairseq_sc": "raw audio, training code",
    "fairseq_lm": "language model, training code",
}


def parity() -> str:
    """One row per kind: the worst error of its files that do not deviate."""
    head = ("what", "files", "wrong decisions", *COLUMNS, "output, float32")
    rows = []
    for kind, title in KINDS.items():
        cases = [case for case in map(compare.load, compare.names()) if case.kind == kind]
        cases = [case for case in cases if case.deviation is None]
        found = [compare.errors(case) for case in cases]
        found32 = [compare.float32_errors(case) for case in cases if case.group("unmodified_f32")]
        rows.append(
            (
                f"{title} (`{kind}`)",
                str(len(cases)),
                str(int(sum(errors.get("decisions", 0) for errors in found))),
                *(worst(errors.get(column) for errors in found) for column in COLUMNS),
                worst(errors["output"] for errors in found32),
            )
        )
    return markdown(head, rows)


def deviations() -> str:
    """One row per file that deviates by design."""
    head = (
        "file",
        "by",
        "published - here",
        "oracle as published - published",
        "oracle - here",
    )
    rows = []
    for case in map(compare.load, compare.names()):
        if case.deviation is None:
            continue
        x, state, expected = case.batch_first("input"), case.group("state"), case.batch_first("output")
        here = compare.run(case, case.build(), x)
        there = oracle.layer(case.config, state, x, case.mask, as_published=True)
        alone = oracle.layer(case.config, state, x, case.mask, as_published=False)
        rows.append(
            (
                f"`{case.name}`",
                case.deviation,
                f"{compare.distance(here, expected):.3f}",
                worst([compare.distance(there, expected)]),
                worst([compare.distance(alone, here.detach())]),
            )
        )
    return markdown(head, rows)


def parameters() -> str:
    """One row per published model."""
    head = ("preset", "published", "here", "why")
    rows = []
    for name, published in architectures.PUBLISHED_PARAMETERS.items():
        count = parameters_published(getattr(architectures, name)())
        assert count.parameters == published, f"{name}: {count}"
        rows.append((f"`{name}`", f"{published:,}", f"{count.here:,}", count.reason or "equal"))
    return markdown(head, rows)


def worst(errors: Iterable[float | None]) -> str:
    known = [error for error in errors if error is not None]
    return f"{max(known):.0e}" if known else "-"


def markdown(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [head, ["---"] * len(list(head)), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def put(page: str, name: str, table: str) -> str:
    """The page with what stands between two comments replaced."""
    pattern = rf"(<!-- {name} -->\n).*?(<!-- end of {name} -->)"
    page, n = re.subn(pattern, lambda match: f"{match[1]}{table}\n{match[2]}", page, flags=re.DOTALL)
    assert n == 1, f"no place for {name}"
    return page


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    page = PAGE.read_text()
    for name, table in (
        ("parity", parity()),
        ("deviations", deviations()),
        ("parameters", parameters()),
    ):
        print(table, end="\n\n")
        page = put(page, name, table)
    PAGE.write_text(page)
