"""Comparisons of Triton kernels with plain torch, in the interpreter and on a GPU."""

from dataclasses import dataclass

import torch

from sma import Elements
from sma.modules import Modes, attention_function, kernel_backend, windowed_attention
from sma.modules.attention.positions import OffsetBias
from sma.modules.ssm.kernel_paths import convolve_modes, scan_selectively


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
    if any(x.is_cuda for x in got):  # products of tf32 in three, and sums in another order
        tolerance = max(tolerance, 1e-3)
    for a, b in zip(got, expected, strict=True):
        assert a.dtype == b.dtype
        size = float(b.detach().abs().max()) if b.numel() else 0.0
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance * max(size, 0.1))


def seeded(*shape, seed):
    """Normal numbers, the same at every call."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@dataclass(frozen=True)
class Recurrence:
    """One convolution with modes."""

    rows: int = 2
    length: int = 19
    d_model: int = 3
    d_state: int = 2
    complex: bool = False
    bidirectional: bool = False
    truncation: int | None = None
    initial: bool = False
    device: str = "cpu"

    def run(self):
        """The inputs that have gradients, and the result."""
        shape = (self.d_model, self.d_state)

        def draw(*size, seed):
            real = seeded(*size, seed=seed)
            return torch.complex(real, seeded(*size, seed=seed + 50)) if self.complex else real

        def decay(seed):
            z = draw(*shape, seed=seed)
            return torch.complex(-z.real.abs() / 4, z.imag) if self.complex else -z.abs() / 4

        leaves = [seeded(self.rows, self.length, self.d_model, seed=0), decay(1), draw(*shape, seed=2)]
        leaves += [decay(3), draw(*shape, seed=4)] * self.bidirectional + [seeded(self.d_model, seed=5)]
        leaves = [x.to(self.device).requires_grad_() for x in leaves]
        initial = draw(self.rows, *shape, seed=6).to(self.device) if self.initial else None
        future = Modes(*leaves[3:5]) if self.bidirectional else None
        return leaves, convolve_modes(
            leaves[0],
            Modes(*leaves[1:3]),
            future,
            skip=leaves[-1],
            truncation=self.truncation,
            initial=initial,
        )

    def results(self, backend):
        """The result, and the gradients."""
        with kernel_backend(backend):
            leaves, y = self.run()
        weight = seeded(*y.shape, seed=7).to(y)
        return [y, *torch.autograd.grad((y * weight).sum(), leaves)]

    def compare(self):
        """The kernels against plain torch."""
        close(self.results("triton"), self.results("plain"), torch.float32)


@dataclass(frozen=True)
class Scan:
    """One selective scan."""

    rows: int = 2
    length: int = 19
    n_heads: int = 2
    d_head: int = 3
    d_state: int = 4
    initial: bool = False
    device: str = "cpu"

    def run(self):
        """The inputs, all of which have gradients, and the results."""
        rows, length, n_heads, d_state = self.rows, self.length, self.n_heads, self.d_state
        leaves = [
            seeded(rows, length, n_heads, self.d_head, seed=0),
            -seeded(rows, length, n_heads, seed=1).abs() / 4,
            seeded(rows, length, d_state, seed=2),
            seeded(rows, length, d_state, seed=3),
        ] + [seeded(rows, n_heads, self.d_head, d_state, seed=4)] * self.initial
        leaves = [x.to(self.device).requires_grad_() for x in leaves]
        return leaves, scan_selectively(*leaves)

    def results(self, backend):
        """The results, and the gradients."""
        with kernel_backend(backend):
            leaves, results = self.run()
        weights = [seeded(*y.shape, seed=5 + i).to(y) for i, y in enumerate(results)]
        return [*results, *torch.autograd.grad(results, leaves, weights)]

    def compare(self):
        """The kernels against plain torch."""
        close(self.results("triton"), self.results("plain"), torch.float32)
