"""The command that compares: what it prints, and what it refuses in one line."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sma.training.comparison.measurements import Comparison, ModelRecord, RunRecord, write_comparison

NAMES = ("first", "second")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that holds nothing but results."""
    runs = [
        RunRecord(
            model=model,
            budget=1e12,
            seed=seed,
            learning_rate=1e-3,
            d_model=8,
            parameters=1500,
            steps=12,
            elements=100,
            operations=10**12,
            seconds=3.0,
            peak_memory=None,
            quality=quality + seed / 10,
            bits=2.0,
            accuracy=0.5,
            validation_loss=1.0,
            rates={},
            course={},
        )
        for model, quality in (("first", 2.0), ("second", 1.5))
        for seed in range(2)
    ]
    write_comparison(
        tmp_path,
        Comparison(
            task="made-up text",
            unit="byte",
            headline="bits",
            match="operations",
            budgets=[1e12],
            seeds=[0, 1],
            models=[ModelRecord(name=name, source="ready", control=None, of=None) for name in NAMES],
            runs=runs,
            missing=[],
            data={},
            versions={},
            machine={},
        ),
    )
    return tmp_path


def test_results_are_shown_anew_without_specs(sma: Callable[..., Any], folder: Path) -> None:
    result = sma("compare", "--out", folder)
    assert result.exit_code == 0
    lines = [line.split("│") for line in result.output.splitlines() if "│" in line]
    assert [[cell.strip() for cell in line[1:4]] for line in lines] == [
        ["second", "1.550 ± 0.071 (2)", "-0.500 [-0.500 to -0.500]"],
        ["first", "2.050 ± 0.071 (2)", "-"],
    ]
    assert f"page: {folder / 'comparison.html'}" in result.output
    assert "1.550 ± 0.071" in (folder / "comparison.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "has no results.json; name the folder of a comparison, or give specs"),
        (["--budget", "1e9"], "specs: none is given; name at least one"),
        (["ready"], "budget is not given; give the operations of each run, such as --budget 1e12"),
        (
            ["ready", "--match", "steps"],
            "budget is not given; give the steps of each run, such as --budget 500",
        ),
        (
            ["ready", "--budget", "1e9,much"],
            "--budget '1e9,much' is not a list of numbers; write such as 1e12",
        ),
        (
            ["ready", "--budget", "1e9", "--learning-rates", "x"],
            "--learning-rates 'x' is not a list of numbers; write such as 3e-3",
        ),
        (
            ["seqboat", "--budget", "1e9"],
            "spec 'seqboat' is not a file, a run's folder or a known name; did you",
        ),
        (["ready", "--budget", "1", "--match", "time"], "--match time: use operations or seconds or steps"),
        (["preset:seqbot", "--budget", "1e9"], "there is no preset 'seqbot'; did you mean seqboat"),
        (
            ["ready", "--task", "digits", "--budget", "5"],
            "budget=5 operations is less than one step",
        ),
        (
            ["preset:ssm_only", "--task", "digits", "--budget", "1e9", "--controls", "never"],
            "controls: ssm_only has no layer with a learned router",
        ),
    ],
)
def test_wrong_arguments_are_told_in_one_line(
    sma: Callable[..., Any], tmp_path: Path, arguments: list[str], told: str
) -> None:
    result = sma("compare", *arguments, "--out", tmp_path / "new")
    assert result.exit_code == 2
    assert told in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "new").exists()
