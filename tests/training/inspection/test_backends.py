"""Comparison of backends: on a CPU plain torch alone runs; a kernel is stood in for by a changed function."""

import re

import pytest
import torch

from sma.training.inspection import backends


@pytest.fixture(autouse=True)
def _own_list(monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setattr("sma.modules.kernels.choice._switched_off", {})
    monkeypatch.setattr(backends, "_LENGTH", {"cpu": 40})


def test_on_a_cpu_plain_torch_is_used():
    found = [finding for finding in backends.find_backends() if finding.device == "cpu"]
    assert [(f.operation, f.backend) for f in found] == [
        (operation, backend) for operation in backends.OPERATIONS for backend in ("plain", "triton")
    ]
    for finding in found:
        if finding.backend == "plain":
            assert finding.used
            assert 0 < finding.difference < 1e-5
            assert finding.seconds > 0
            assert finding.reason is None
        else:
            assert not finding.used
            assert "kernels are built for NVIDIA GPUs" in finding.reason or "not installed" in finding.reason


def stands_in(monkeypatch, wrong):
    """A machine where a kernel would run, and what it computes."""
    monkeypatch.setattr(backends, "why_not_on", lambda device: None)
    monkeypatch.setattr(backends, "kernel_backend", _Backend)
    right = backends.OPERATIONS["scan"]

    def run(length, device, dtype):
        results = right(length, device, dtype)
        return wrong(results) if _Backend.name == "triton" else results

    monkeypatch.setattr(backends, "OPERATIONS", {"scan": run})


class _Backend:
    name = "auto"

    def __init__(self, name):
        self.chosen = name

    def __enter__(self):
        _Backend.name = self.chosen

    def __exit__(self, *_):
        _Backend.name = "auto"


def fails(results):
    raise RuntimeError("no driver\nand more")


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (lambda results: [1.01 * results[0], *results[1:]], r"differs from plain torch by 1\.0e-02"),
        (lambda results: [*results[:-1], results[-1] * torch.nan], "differs from plain torch by inf"),
        (fails, "RuntimeError: no driver$"),
    ],
)
def test_what_disagrees_or_fails_is_switched_off(monkeypatch, wrong, reason):
    stands_in(monkeypatch, wrong)
    with pytest.warns(UserWarning, match="the scan kernel is switched off"):
        found = [f for f in backends.find_backends() if f.device == "cpu"]
    assert [f.used for f in found] == [True, False]
    assert "scan" in backends.switched_off()
    assert re.search(reason, found[1].reason)


def test_what_agrees_stays(monkeypatch):
    stands_in(monkeypatch, lambda results: results)
    found = [f for f in backends.find_backends() if f.device == "cpu"]
    assert not backends.switched_off()
    assert found[1].difference == found[0].difference
