"""Kernels compile for three GPUs without one: a sample here, all configurations in the slow test."""

import pytest
import torch

from sma.modules.kernels.cubins import CHIPS, Resources, configurations, resources

pytest.importorskip("triton", reason="triton is built for Linux")


def heavy(kernel, dtype, width):
    """The configuration of a kernel with everything that takes registers."""
    return next(
        c
        for c in configurations()
        if (c.kernel, c.dtype, c.constants.get("WIDTH", width)) == (kernel, dtype, width)
        and all(
            c.constants.get(name, True) for name in ("BIAS", "DROPOUT", "COMPLEX", "SENSITIVE", "REVERSE")
        )
    )


def check(used: Resources, capability):
    assert used.spills == 0
    assert 0 < used.registers <= 255
    assert used.shared <= CHIPS[capability].shared
    assert used.size > 1000


@pytest.mark.parametrize(
    ("kernel", "dtype", "width", "capability"),
    [
        ("ranges_kernel", torch.float32, 0, 90),
        ("sums_kernel", torch.bfloat16, 64, 100),
        ("forward_kernel", torch.bfloat16, 128, 80),
        ("queries_kernel", torch.float32, 32, 80),
        ("keys_kernel", torch.float16, 64, 90),
        ("values_kernel", torch.bfloat16, 64, 100),
        ("memory_kernel", torch.bfloat16, 64, 90),
        ("chunk_states_kernel", torch.float32, 0, 80),
        ("carry_kernel", torch.float32, 0, 100),
        ("chunk_outputs_kernel", torch.float32, 0, 90),
        ("chunk_gradients_kernel", torch.float32, 0, 90),
        ("scan_states_kernel", torch.float32, 32, 100),
        ("scan_carry_kernel", torch.float32, 0, 90),
        ("scan_outputs_kernel", torch.float32, 32, 80),
    ],
)
def test_a_sample_fits(kernel, dtype, width, capability):
    check(resources(heavy(kernel, dtype, width), capability), capability)


@pytest.mark.slow
@pytest.mark.parametrize("capability", CHIPS)
@pytest.mark.parametrize("configuration", list(configurations()), ids=str)
def test_every_configuration_fits(configuration, capability):
    check(resources(configuration, capability), capability)


def test_spills_are_seen():
    """A cut that is too large for the registers."""
    from dataclasses import replace

    whole = heavy("queries_kernel", torch.float32, 32)
    constants = {**whole.constants, "BLOCK": 64, "STEP": 64, "WIDTH": 64, "num_warps": 4}
    assert resources(replace(whole, constants=constants), 80).spills > 0
