"""The tests of kernels run in Triton's interpreter, where tests/properties/test_kernels.py starts them.

Whether kernels are interpreted is settled when triton is imported, for the whole process.
"""

import os

import pytest

INTERPRETED = ["test_attention_op.py", "test_memory_op.py", "test_recurrence_op.py", "test_scan_op.py"]
OTHERS = ["test_choice.py", "test_cubins.py", "test_derivatives.py", "test_estimates.py"]

collect_ignore = INTERPRETED if os.environ.get("TRITON_INTERPRET") != "1" else OTHERS


@pytest.fixture(autouse=True)
def _products_in_bfloat16(monkeypatch):
    """The interpreter keeps bfloat16 as its bits, and multiplies those; here it multiplies the numbers."""
    if os.environ.get("TRITON_INTERPRET") != "1":
        return
    import numpy as np
    from triton import language as tl
    from triton.runtime import interpreter

    def numbers(x):
        if x.dtype != tl.bfloat16:
            return x
        return interpreter.TensorHandle((x.data.astype(np.uint32) << 16).view(np.float32), tl.float32)

    dot = interpreter.InterpreterBuilder.create_dot
    monkeypatch.setattr(
        interpreter.InterpreterBuilder,
        "create_dot",
        lambda self, a, b, *rest: dot(self, numbers(a), numbers(b), *rest),
    )
