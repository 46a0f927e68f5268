"""Routers that decide for every element and module alone."""

import math

import torch
from torch import Tensor, nn
from typing_extensions import override

from sma.checks import check_sizes
from sma.modules.functional import in_float32, linear
from sma.modules.routers.ramp import Ramp, Scheduled
from sma.recomputation import replayed
from sma.routing import Router, Routing, mask_padding
from sma.sequence import check_input


class LatentConfigurator(Router):
    r"""The router of SeqBoat: a softmax over "skip" and "activate" with a learned temperature.

    $$ (p_{\text{skip}}, p_{\text{activate}}) = \operatorname{softmax}\big((W x_t + b) / e^{\tau}\big), \qquad
       a_t = [p_{\text{activate}} > p_{\text{skip}}], \qquad c_t = p_{\text{activate}} $$

    for each module (https://arxiv.org/abs/2306.11197). Deterministic, without auxiliary losses. A tie skips,
    so a router whose weights are all zero activates nothing.

    Args:
        d_model: D.
        n_modules: M.
        init_temperature_scale: the temperature starts at this times sqrt(D).

    Raises:
        ValueError: if `init_temperature_scale` is not positive.

    Example:
        >>> router = LatentConfigurator(16, n_modules=3)
        >>> routing = router(torch.randn(2, 5, 16))
        >>> routing.active.shape, bool((routing.active == (routing.confidence > 0.5)).all())
        (torch.Size([2, 5, 3]), True)
    """

    element_wise = True

    def __init__(self, d_model: int, *, n_modules: int = 1, init_temperature_scale: float = 1.0) -> None:
        super().__init__(n_modules)
        check_sizes(d_model=d_model)
        if init_temperature_scale <= 0:
            raise ValueError(f"init_temperature_scale must be positive, got {init_temperature_scale}")
        self.d_model = d_model
        self.projection = linear(d_model, 2 * n_modules)
        self.log_temperature = nn.Parameter(
            torch.tensor([math.log(init_temperature_scale * math.sqrt(d_model))])
        )

    @override
    def forward(self, x: Tensor, mask: Tensor | None = None) -> Routing:
        logits = in_float32(self.projection, check_input(x, mask, self.d_model))
        skip, activate = torch.unflatten(logits, -1, (self.n_modules, 2)).unbind(-1)
        margin = activate - skip
        temperature = self.log_temperature.to(margin.dtype).exp()
        return Routing(mask_padding(margin > 0, mask), (margin / temperature).sigmoid())


class SigmoidRouter(Router):
    r"""One probability per module: $ c_t = \sigma(w \cdot x_t + b) $, active where it exceeds a threshold.

    Args:
        d_model: D.
        n_modules: M.
        threshold: an element is active where c is greater.

    Raises:
        ValueError: if `threshold` is not in [0, 1).

    Example:
        >>> routing = SigmoidRouter(16, n_modules=3)(torch.randn(2, 5, 16))
        >>> bool((routing.active == (routing.confidence > 0.5)).all())
        True
    """

    element_wise = True

    def __init__(self, d_model: int, *, n_modules: int = 1, threshold: float = 0.5) -> None:
        super().__init__(n_modules)
        check_sizes(d_model=d_model)
        if not 0 <= threshold < 1:
            raise ValueError(f"threshold must be in [0, 1), got {threshold}")
        self.threshold = threshold
        self.d_model = d_model
        self.projection = linear(d_model, n_modules)

    @override
    def forward(self, x: Tensor, mask: Tensor | None = None) -> Routing:
        confidence = in_float32(self.projection, check_input(x, mask, self.d_model)).sigmoid()
        return Routing(mask_padding(confidence > self.threshold, mask), confidence)


class GumbelRouter(Router):
    r"""A straight-through Gumbel sample per module in training; the more probable choice in evaluation.

    $$ s_t = \sigma\big((w \cdot x_t + b + g) / \text{temperature}\big), \qquad a_t = [s_t > 1/2], \qquad
       c_t = a_t + s_t - \text{stop-gradient}(s_t) $$

    with logistic noise g (the difference of two Gumbel variables) in training and g = 0 in evaluation
    (https://arxiv.org/abs/1611.01144, for two categories). The confidence is exactly 1 where active and 0
    elsewhere, while its gradient is that of s: an estimate, which finite differences do not confirm. The
    noise comes from torch's generator, so decisions in training depend on what was drawn before.

    Args:
        d_model: D.
        n_modules: M.
        temperature: of the relaxation; smaller is closer to a hard choice, with noisier gradients. A `Ramp`
            anneals it.

    Raises:
        ValueError: if `temperature` is not positive.

    Example:
        >>> routing = GumbelRouter(16)(torch.randn(2, 5, 16))
        >>> bool((routing.confidence == routing.active).all())
        True
    """

    element_wise = True

    def __init__(self, d_model: int, *, n_modules: int = 1, temperature: float | Ramp = 1.0) -> None:
        super().__init__(n_modules)
        check_sizes(d_model=d_model)
        self.temperature = Scheduled(temperature)
        if min(self.temperature.extremes) <= 0:
            raise ValueError(f"temperature must be positive, got {temperature}")
        self.d_model = d_model
        self.projection = linear(d_model, n_modules)

    @override
    def forward(self, x: Tensor, mask: Tensor | None = None) -> Routing:
        logits = in_float32(self.projection, check_input(x, mask, self.d_model))
        if self.training:
            logits = logits + torch.rand_like(logits).logit()
        soft = (logits / self.temperature()).sigmoid()
        active = replayed(mask_padding(logits > 0, mask))
        return Routing(active, active + (soft - soft.detach()))
