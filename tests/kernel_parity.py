"""Comparisons of Triton kernels with plain torch, in the interpreter and on a GPU."""

from dataclasses import dataclass

import torch

from sma import Elements
from sma.modules import attention_function, kernel_backend, windowed_attention
from sma.modules.attention.positions import OffsetBias


def flat_list(counts, padding, device="cpu"):
    """`counts[b]` elements of row b at random places, then `padding` slots."""
    generator = torch.Generator().manual_seed(sum(counts))
    rows, positions, ptr = [], [], [0]
    for b, count in enumerate(counts):
        places = torch.randperm(2 * count + 1, generator=generator)[:count].sort().values.tolist()
        rows += [b] * count + [-1] * padding
        positions += [*places, *[0] * padding]
        ptr.append(len(rows))
    row, position, ptr = (torch.tensor(x, dtype=torch.long, device=device) for x in (rows, positions, ptr))
    return Elements(torch.zeros(len(row), 1, device=device), row, position, torch.zeros_like(row), ptr)


@dataclass(frozen=True)
class Attention:
    """One call of windowed attention."""

    counts: tuple[int, ...] = (20, 0, 30)
    padding: int = 2
    window: int | None = 5
    bidirectional: bool = False
    function: str = "softmax"
    bias: str | None = None
    heads: int | None = None
    d_qk: int = 8
    d_v: int = 12
    dtype: torch.dtype = torch.float32
    device: str = "cpu"
    seed: int = 0

    def inputs(self):
        """The list, and queries, keys, values and the bias table with gradients."""
        elements = flat_list(self.counts, self.padding, self.device)
        generator = torch.Generator().manual_seed(self.seed)
        heads = () if self.heads is None else (self.heads,)
        shapes = [(len(elements.row), *heads, width) for width in (self.d_qk, self.d_qk, self.d_v)] + [(7,)]
        drawn = [torch.randn(shape, generator=generator) for shape in shapes]
        dtypes = [self.dtype] * 3 + [torch.float32]
        return elements, [
            x.to(self.device, dtype).requires_grad_() for x, dtype in zip(drawn, dtypes, strict=True)
        ]

    def results(self, backend):
        """The result at elements, and the gradients of queries, keys, values and the table."""
        elements, leaves = self.inputs()
        q, k, v, table = leaves
        bias = None if self.bias is None else OffsetBias(table, -4, by_rank=self.bias == "rank")
        settings = {"window": self.window, "bidirectional": self.bidirectional, "bias": bias}
        with kernel_backend(backend):
            y = windowed_attention(q, k, v, elements, function=attention_function(self.function), **settings)
        assert y.shape == v.shape
        assert y.dtype == v.dtype
        assert torch.isfinite(y).all()
        weight = torch.randn(v.shape, generator=torch.Generator().manual_seed(1)).to(v)
        kept = elements.valid.view(-1, *[1] * (v.dim() - 1))
        grads = torch.autograd.grad((y * weight * kept).sum(), leaves, materialize_grads=True)
        return [y * kept, *grads]

    def compare(self):
        """The kernels against plain torch."""
        close(self.results("triton"), self.results("plain"), self.dtype)


def close(got, expected, dtype):
    """Within rounding of the dtype, relative to the largest entry of each tensor."""
    tolerance = {torch.float32: 2e-5, torch.float16: 4e-3, torch.bfloat16: 3e-2}[dtype]
    for a, b in zip(got, expected, strict=True):
        assert a.dtype == b.dtype
        size = float(b.detach().abs().max()) if b.numel() else 0.0
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance * max(size, 1e-3))
