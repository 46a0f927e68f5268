"""Norms over sequences with padding."""

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import Self, override

from sma.modules.functional import at_least_float32, held_in_float32, sum_over_ranks, transformed
from sma.recomputation import recomputing
from sma.sequence import check_input, zero_padding


class Norm(nn.Module, ABC):
    """A map `(B, L, D) -> (B, L, D)` that normalises, in float32 at least, and returns the given dtype.

    What padding holds, if it is finite, influences neither real elements nor any gradient. One whose result
    in evaluation depends on later elements says `causal = False`. `keeps_zero` says whether zeros stay zeros.
    """

    causal: bool = True
    keeps_zero: bool = False

    @abstractmethod
    @override
    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Normalise.

        Args:
            x: `(B, L, D)`, finite at padding.
            mask: `(B, L)` bool, True = a real element. None: all are real.

        Returns:
            `(B, L, D)`; finite, but not necessarily 0, at padding.
        """

    def zero_at_padding(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """The same for `x` that is 0 at padding, with a result that is so too."""
        y = self(x, mask)
        return y if self.keeps_zero else zero_padding(y, mask)


class NoNorm(Norm):
    """The identity, where a norm is expected.

    Example:
        >>> NoNorm()(torch.ones(1, 2, 3)).sum()
        tensor(6.)
    """

    keeps_zero = True

    @override
    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return `x`, padding included."""
        return x


class LayerNorm(Norm):
    r"""Layer norm: $ y = (x - \text{mean}) / \sqrt{\text{var} + \epsilon} \cdot w + b $.

    Mean and variance are those of one element's features. https://arxiv.org/abs/1607.06450

    Args:
        d_model: D.
        eps: epsilon.
        affine: whether w and b are learned; without, they are 1 and 0.

    Example:
        >>> LayerNorm(2)(torch.tensor([[[1.0, 3.0]]])).round(decimals=3)
        tensor([[[-1.,  1.]]], grad_fn=<RoundBackward1>)
    """

    def __init__(self, d_model: int, *, eps: float = 1e-5, affine: bool = True) -> None:
        super().__init__()
        self.d_model = d_model
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(d_model)) if affine else None
        self.bias = nn.Parameter(torch.zeros(d_model)) if affine else None

    @override
    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        dtype = at_least_float32(x.dtype)
        weight, bias = (p if p is None else p.to(dtype) for p in (self.weight, self.bias))
        y = F.layer_norm(
            check_input(x, mask, self.d_model).to(dtype), (self.d_model,), weight, bias, self.eps
        )
        return y.to(x.dtype)


class RMSNorm(Norm):
    r"""Root mean square norm: $ y = w \cdot x / \sqrt{\text{mean}(x^2) + \epsilon} $, one w per feature.

    https://arxiv.org/abs/1910.07467

    Args:
        d_model: D.
        eps: epsilon.
        affine: whether w is learned; without, it is 1.

    Example:
        >>> RMSNorm(2, affine=False)(torch.tensor([[[3.0, 3.0]]])).round(decimals=3)
        tensor([[[1., 1.]]])
    """

    keeps_zero = True

    def __init__(self, d_model: int, *, eps: float = 1e-5, affine: bool = True) -> None:
        super().__init__()
        self.d_model = d_model
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(d_model)) if affine else None

    @override
    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return _divide_by_root_mean_square(check_input(x, mask, self.d_model), self.eps, self.weight)


class ScaleNorm(Norm):
    r"""Scale norm: $ y = g \cdot x / \sqrt{\text{mean}(x^2) + \epsilon} $ with one learned g.

    The form that MEGA and SeqBoat use; the original (https://arxiv.org/abs/1910.05895) divides by the length
    of x instead of its root mean square, which differs by a factor of sqrt(D) in g.

    Args:
        d_model: D.
        eps: epsilon.
        affine: whether g is learned, from 1 on; without, it stays 1.

    Example:
        >>> ScaleNorm(2)(torch.tensor([[[3.0, -3.0]]])).round(decimals=3)
        tensor([[[ 1., -1.]]], grad_fn=<RoundBackward1>)
    """

    keeps_zero = True

    def __init__(self, d_model: int, *, eps: float = 1e-5, affine: bool = True) -> None:
        super().__init__()
        self.d_model = d_model
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(1)) if affine else None

    @override
    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return _divide_by_root_mean_square(check_input(x, mask, self.d_model), self.eps, self.weight)


class BatchNorm(Norm):
    r"""Batch norm over the real elements of a batch: padding does not count.

    $ y = (x - \text{mean}) / \sqrt{\text{var} + \epsilon} \cdot w + b $ per feature
    (https://arxiv.org/abs/1502.03167). In training, mean and variance are those of the batch's real elements,
    so a row's result then depends on its batch-mates, and an element's on later ones: that is what batch norm
    is. In evaluation they are running averages, and elements are independent. Without padding it equals
    `nn.BatchNorm1d`, running averages (of the unbiased variance) included, and has its state names. A batch
    without real elements leaves the averages alone; one with a single real element has variance 0.
    Weights and averages are held in float32 at least, whatever dtype the module is moved to.

    Args:
        d_model: D.
        eps: epsilon.
        momentum: share of the newest batch in the running averages.
        affine: whether w and b are learned; without, they are 1 and 0.
        sync: take statistics over all ranks of the default process group, when there is one. Every rank must
            then run this norm equally often.

    Example:
        >>> x = torch.tensor([[[1.0], [3.0], [99.0]]])
        >>> mask = torch.tensor([[True, True, False]])
        >>> BatchNorm(1, affine=False)(x, mask)[0, :2, 0].round(decimals=3)
        tensor([-1.,  1.])
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(
        self,
        d_model: int,
        *,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = True,
        sync: bool = False,
    ) -> None:
        super().__init__()
        self.d_model = d_model
        self.eps = eps
        self.momentum = momentum
        self.sync = sync
        self.weight = nn.Parameter(torch.ones(d_model)) if affine else None
        self.bias = nn.Parameter(torch.zeros(d_model)) if affine else None
        self.register_buffer("running_mean", torch.zeros(d_model))
        self.register_buffer("running_var", torch.ones(d_model))
        self.register_buffer("num_batches_tracked", torch.tensor(0))

    @override
    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        y = zero_padding(x, mask, self.d_model).to(at_least_float32(x.dtype))
        if self.training:
            mean, var, count = self._statistics(y, mask)
            if not recomputing():
                self._track(mean.detach(), var.detach(), count)
        else:
            mean, var = self.running_mean.to(y), self.running_var.to(y)
        scale = torch.rsqrt(var + self.eps)
        if self.weight is not None:
            scale = scale * self.weight
        y = (y - mean) * scale
        if self.bias is not None:
            y = y + self.bias
        return y.to(x.dtype)

    @override
    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        return super()._apply(held_in_float32(fn), recurse)  # type: ignore[no-untyped-call]

    def _statistics(self, y: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Mean `(D,)` and biased variance `(D,)` of the real elements, and how many there are."""
        real = y.new_ones(y.shape[:2]) if mask is None else mask.to(y)
        totals = self._over_ranks(torch.cat([y.sum((0, 1)), real.sum().unsqueeze(0)]))
        count = totals[-1].detach()
        mean = totals[:-1] / count.clamp(min=1)
        squares = zero_padding(y - mean, mask).square().sum((0, 1))
        return mean, self._over_ranks(squares) / count.clamp(min=1), count

    def _over_ranks(self, x: Tensor) -> Tensor:
        return sum_over_ranks(x) if self.sync else x

    @torch.no_grad()
    def _track(self, mean: Tensor, var: Tensor, count: Tensor) -> None:
        """Move the running averages, unless the batch had no real element."""
        seen = (count > 0).to(self.running_mean)
        unbiased = var * (count / (count - 1).clamp(min=1))
        try:
            self.running_mean.lerp_(mean.to(self.running_mean), self.momentum * seen)
            self.running_var.lerp_(unbiased.to(self.running_var), self.momentum * seen)
            self.num_batches_tracked += seen.to(self.num_batches_tracked)
        except RuntimeError as error:
            if not transformed():
                raise
            raise ValueError(
                "BatchNorm in training changes its running averages, which torch.func cannot; call eval() on "
                "it, or pass its buffers to functional_call as well"
            ) from error


def _divide_by_root_mean_square(x: Tensor, eps: float, weight: Tensor | None) -> Tensor:
    y = x.to(at_least_float32(x.dtype))
    y = y * torch.rsqrt(y.square().mean(-1, keepdim=True) + eps)
    return (y if weight is None else y * weight).to(x.dtype)
