"""The choice of a kernel, on tensors that are on no GPU."""

import subprocess
import sys

import pytest
import torch

from sma import PackedCompaction
from sma.modules import kernel_backend, switch_off, switched_off, windowed_attention
from sma.modules.kernels import choice

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def none():
    return None


@pytest.fixture
def with_gpu(monkeypatch):
    monkeypatch.setattr(choice, "why_not_on", lambda device: None if device.type == "cuda" else "it is cpu")
    monkeypatch.setattr(choice, "_switched_off", {})


@pytest.mark.usefixtures("with_gpu")
def test_a_gpu_takes_the_kernel_and_a_cpu_plain_torch():
    assert choice.takes_kernel("scan", CUDA, none)
    assert not choice.takes_kernel("scan", CPU, none)
    assert not choice.takes_kernel("scan", CUDA, lambda: "too wide")
    with kernel_backend("plain"):
        assert not choice.takes_kernel("scan", CUDA, none)
    with kernel_backend("triton"):
        assert choice.takes_kernel("scan", CUDA, none)
        for device, refusal, reason in ((CUDA, lambda: "too wide", "too wide"), (CPU, none, "it is cpu")):
            with pytest.raises(ValueError, match=f"no kernel for this scan: {reason}"):
                choice.takes_kernel("scan", device, refusal)


@pytest.mark.usefixtures("with_gpu")
def test_a_kernel_that_is_switched_off_is_not_taken():
    with pytest.warns(UserWarning, match="the scan kernel is switched off: off by 7"):
        switch_off("scan", "off by 7")
    assert dict(switched_off()) == {"scan": "off by 7"}
    assert not choice.takes_kernel("scan", CUDA, none)
    assert choice.takes_kernel("attention", CUDA, none)


def test_the_choice_ends_with_the_block():
    with pytest.raises(RuntimeError), kernel_backend("plain"), kernel_backend("triton"):
        raise RuntimeError
    assert choice._backend == "auto"


def test_unknown_backends_are_refused():
    with pytest.raises(ValueError, match="unknown kernel backend 'fast'; known: auto, plain, triton"):
        kernel_backend("fast").__enter__()


def test_reasons(monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    assert "this device is meta" in choice.why_not_on(torch.device("meta"))
    assert "this device is cpu" in choice.why_not_on(CPU)
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert choice.why_not_on(CPU) is None
    monkeypatch.setattr(choice, "find_spec", lambda name: None)
    assert "pip install" in choice.why_not_on(CUDA)


def test_an_older_gpu_has_none(monkeypatch):
    choice._too_old.cache_clear()
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: (7, 5))
    assert "compute capability (7, 5)" in choice._too_old(0)
    choice._too_old.cache_clear()


@pytest.mark.skipif("TRITON_INTERPRET" in __import__("os").environ, reason="kernels do serve there")
def test_a_demand_that_cannot_be_met_says_why():
    elements = PackedCompaction().compress(torch.randn(1, 5, 4), torch.ones(1, 5, dtype=torch.bool))
    with (
        kernel_backend("triton"),
        pytest.raises(ValueError, match="no kernel for this attention: kernels are"),
    ):
        windowed_attention(*3 * [elements.x], elements, window=2)


def test_triton_is_imported_where_it_is_used():
    code = (
        "import sys, torch; from sma import PackedCompaction; from sma.modules import windowed_attention; "
        "e = PackedCompaction().compress(torch.randn(1, 5, 4), torch.ones(1, 5, dtype=torch.bool)); "
        "windowed_attention(*3 * [e.x], e, window=2); assert not {m for m in sys.modules if '_kernels' in m}"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
