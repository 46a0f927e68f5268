"""The kernel of a decoding step in Triton's interpreter against plain torch."""

import pytest
import torch
from kernel_parity import close

from sma.elements import Elements
from sma.modules import GAU, LearnedBias, MultiHeadAttention, RankBias, kernel_backend


def one_each(x, step, idle=()):
    """One slot per row, without an element where the row is idle."""
    n_rows = len(x)
    rows = torch.arange(n_rows)
    row = torch.tensor([-1 if b in idle else b for b in range(n_rows)])
    position = torch.where(row >= 0, 3 * step + rows, 0)
    x = x.masked_fill(row[:, None] < 0, 0)
    return Elements(x, row, position, rows, torch.arange(n_rows + 1), longest=1)


def outputs(layer, backend, n_steps=7):
    generator = torch.Generator().manual_seed(0)
    state, results = layer.init_state(3), []
    with kernel_backend(backend), torch.no_grad():
        for step in range(n_steps):
            elements = one_each(
                torch.randn(3, 8, generator=generator), step, idle=(1,) if step in (0, 4) else ()
            )
            y = layer.step(elements, state)
            results.append(y[elements.valid])
    memory = state
    return [*results, memory.keys, memory.values, memory.position.float(), memory.count.float()]


@pytest.mark.parametrize(
    "layer",
    [
        GAU(8, d_qk=4, d_hidden=12, window=3),
        GAU(8, d_qk=4, window=3, attention="laplace", position=LearnedBias(5)),
        GAU(8, d_qk=70, d_hidden=66, window=65, attention="relu2", position=RankBias(65)),
        MultiHeadAttention(8, n_heads=2, window=4, position=RankBias(4)),
    ],
    ids=["softmax", "laplace", "relu2", "heads"],
)
def test_equals_plain_torch(layer):
    """More steps than the window, rows that rest, several blocks of slots and of columns."""
    close(outputs(layer, "triton"), outputs(layer, "plain"), torch.float32)


def test_half_precision():
    layer = GAU(8, d_qk=4, window=3).bfloat16()
    state, other = layer.init_state(3), layer.init_state(3)
    elements = one_each(torch.randn(3, 8), 0).with_x(torch.randn(3, 8).bfloat16())
    results = []
    for backend, memory in (("triton", state), ("plain", other)):
        with kernel_backend(backend), torch.no_grad():
            results.append([layer.step(elements, memory)])
    close(*results, torch.bfloat16)


def test_what_the_kernel_does_not_take():
    layer = GAU(8, d_qk=4, window=3).double()
    elements = one_each(torch.randn(3, 8), 0).with_x(torch.randn(3, 8).double())
    with kernel_backend("triton"), torch.no_grad(), pytest.raises(ValueError, match=r"not in torch\.float64"):
        layer.step(elements, layer.init_state(3))
