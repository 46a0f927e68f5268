"""The report on this machine."""

import platform

import torch

import sma as package
from sma.training.inspection import backends


def test_report(sma, monkeypatch):
    monkeypatch.setattr(backends, "_LENGTH", {"cpu": 40})
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    output = sma("doctor").output
    assert f"sma {package.__version__}, Python {platform.python_version()}" in output
    assert f"torch {torch.__version__}" in output
    assert f"{torch.get_num_threads()} threads" in output
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in output.splitlines() if "│" in line]
    used = [(row[0], row[3]) for row in rows if row[1] == "cpu" and row[-1] == "yes"]
    assert used == [("attention", "plain"), ("recurrence", "plain"), ("scan", "plain")]
