"""The settings of attention, and the functions that turn its scores into weights."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class AttentionFunction:
    """A function from scores to attention weights.

    Attributes:
        weights: differentiable; `(..., K)` scores to weights of the same shape, and -inf to weight 0.
        normalized: whether the weights of a query sum to 1. If so, queries are scaled by 1 / sqrt(d_qk), else
            by one over the number of keys that they may see.
        gradient: of the scores, given the scores, the weights and the weights' gradient, where a formula is
            faster than automatic differentiation of `weights`, the default.
        name: what `attention_function` knows it by; None: it does not.
    """

    weights: Callable[[Tensor], Tensor]
    normalized: bool
    gradient: Callable[[Tensor, Tensor, Tensor], Tensor] | None = None
    name: str | None = None

    def backward(self, scores: Tensor, weights: Tensor, grad: Tensor) -> Tensor:
        """The gradient of the scores, given that of their weights."""
        if self.gradient is not None:
            return self.gradient(scores, weights, grad)
        _, pull = torch.func.vjp(self.weights, scores)  # type: ignore[misc]
        (grad_scores,) = pull(grad)
        return grad_scores


def attention_function(name: str | AttentionFunction) -> AttentionFunction:
    """The attention function that a name stands for.

    `relu2` is the square of relu (https://arxiv.org/abs/2109.08668), `laplace` the distribution function that
    approximates it with a bounded slope (https://arxiv.org/abs/2209.10655).

    Args:
        name: softmax, relu2 or laplace; an `AttentionFunction` is returned as it is.

    Raises:
        ValueError: if no function has that name.

    Example:
        >>> attention_function("relu2").weights(torch.tensor([-2.0, 3.0]))
        tensor([0., 9.])
    """
    if isinstance(name, AttentionFunction):
        return name
    if name not in _FUNCTIONS:
        raise ValueError(
            f"unknown attention {name!r}; known: {', '.join(map(str, _FUNCTIONS))}, or an AttentionFunction"
        )
    return _FUNCTIONS[name]


def _softmax(scores: Tensor) -> Tensor:
    return torch.softmax(scores, -1)


def _softmax_gradient(scores: Tensor, weights: Tensor, grad: Tensor) -> Tensor:
    return torch.ops.aten._softmax_backward_data(grad, weights, -1, weights.dtype)


def _relu2(scores: Tensor) -> Tensor:
    return torch.relu(scores).square()


def _relu2_gradient(scores: Tensor, weights: Tensor, grad: Tensor) -> Tensor:
    return torch.relu(scores).mul_(grad).mul_(2)


_MEAN, _STD = 0.707107, 0.282095  # as published; the exact ones are sqrt(1/2) and sqrt(1/(4 pi))


def _laplace(scores: Tensor) -> Tensor:
    return torch.erf((scores - _MEAN).div_(_STD * math.sqrt(2))).add_(1).mul_(0.5)


def _laplace_gradient(scores: Tensor, weights: Tensor, grad: Tensor) -> Tensor:
    density = (scores - _MEAN).div_(_STD).square_().div_(-2).exp_().div_(_STD * math.sqrt(2 * math.pi))
    return density.mul_(grad)


SOFTMAX = AttentionFunction(_softmax, normalized=True, gradient=_softmax_gradient, name="softmax")
_RELU2 = AttentionFunction(_relu2, normalized=False, gradient=_relu2_gradient, name="relu2")
_LAPLACE = AttentionFunction(_laplace, normalized=False, gradient=_laplace_gradient, name="laplace")
_FUNCTIONS = {function.name: function for function in (_LAPLACE, _RELU2, SOFTMAX)}


@dataclass(frozen=True)
class AttentionRule:
    """The settings that all attention modules share: which keys a query sees, and how it weighs them.

    Attributes:
        window: by how many ranks a key may be away; None: any.
        bidirectional: whether keys may come after their query.
        function: from scores to weights.
        dropout: probability to drop a weight.
    """

    window: int | None
    bidirectional: bool = False
    function: AttentionFunction = SOFTMAX
    dropout: float = 0.0

    def divisor(self, d_qk: int) -> float | None:
        """The divisor of all queries of width `d_qk`; None: it depends on the number of a query's keys."""
        if self.function.normalized:
            return math.sqrt(d_qk)
        if self.window is None:
            return None
        return 2 * self.window if self.bidirectional else self.window
