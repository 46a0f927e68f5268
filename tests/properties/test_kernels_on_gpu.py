"""Kernels against plain torch on a GPU, at sizes that fill it."""

from dataclasses import replace

import pytest
import torch
from kernel_parity import Attention, Recurrence, Scan

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
WHOLE = Attention(counts=(900, 0, 1300), window=128, heads=2, d_qk=64, d_v=64, device="cuda")
HALF = [torch.bfloat16, torch.float16]


@pytest.mark.parametrize("function", ["softmax", "relu2", "laplace"])
@pytest.mark.parametrize("bias", [None, "rank", "position"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_attention(function, bias, bidirectional):
    for dtype in HALF:
        replace(WHOLE, function=function, bias=bias, bidirectional=bidirectional, dtype=dtype).compare()


@pytest.mark.parametrize("change", [{"d_qk": 128, "d_v": 300, "heads": None}, {"window": None}, {"d_qk": 5}])
def test_attention_of_other_shapes(change):
    replace(WHOLE, **change).compare()
    replace(WHOLE, dtype=torch.bfloat16, **change).compare()


@pytest.mark.parametrize("complex", [False, True])
@pytest.mark.parametrize("truncation", [None, 100])
def test_recurrence(complex, truncation):
    shape = {"rows": 2, "length": 3000, "d_model": 70, "d_state": 20, "device": "cuda"}
    Recurrence(complex=complex, truncation=truncation, bidirectional=True, **shape).compare()


def test_scan():
    shape = {"n_heads": 3, "d_head": 64, "d_state": 70, "device": "cuda"}
    Scan(rows=2, length=3000, initial=True, **shape).compare()
