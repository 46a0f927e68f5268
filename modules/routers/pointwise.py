"""Routers that decide for every element and module alone, and the budget that any router can be given."""

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from sma.checks import check_sizes
from sma.modules.functional import at_least_float32, linear
from sma.modules.routers.ramp import Ramp, Scheduled
from sma.recomputation import replayed
from sma.routing import Router, Routing, mask_padding
from sma.sequence import zero_padding
from sma.state import State


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

    def __init__(self, d_model: int, *, n_modules: int = 1, init_temperature_scale: float = 1.0) -> None:
        super().__init__(n_modules)
        check_sizes(d_model=d_model)
        if init_temperature_scale <= 0:
            raise ValueError(f"init_temperature_scale must be positive, got {init_temperature_scale}")
        self.projection = linear(d_model, 2 * n_modules)
        self.log_temperature = nn.Parameter(
            torch.tensor([math.log(init_temperature_scale * math.sqrt(d_model))])
        )

    @override
    def forward(self, x: Tensor, mask: Tensor | None = None) -> Routing:
        weight, bias = map(_activate_over_skip, (self.projection.weight, self.projection.bias))
        margin = affine(x, weight, bias, mask)
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

    def __init__(self, d_model: int, *, n_modules: int = 1, threshold: float = 0.5) -> None:
        super().__init__(n_modules)
        check_sizes(d_model=d_model)
        if not 0 <= threshold < 1:
            raise ValueError(f"threshold must be in [0, 1), got {threshold}")
        self.threshold = threshold
        self.projection = linear(d_model, n_modules)

    @override
    def forward(self, x: Tensor, mask: Tensor | None = None) -> Routing:
        confidence = project(self.projection, x, mask).sigmoid()
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

    def __init__(self, d_model: int, *, n_modules: int = 1, temperature: float | Ramp = 1.0) -> None:
        super().__init__(n_modules)
        check_sizes(d_model=d_model)
        self.temperature = Scheduled(temperature)
        if min(self.temperature.extremes) <= 0:
            raise ValueError(f"temperature must be positive, got {temperature}")
        self.projection = linear(d_model, n_modules)

    @override
    def forward(self, x: Tensor, mask: Tensor | None = None) -> Routing:
        logits = project(self.projection, x, mask)
        if self.training:
            logits = logits + torch.rand_like(logits).logit()
        soft = (logits / self.temperature()).sigmoid()
        active = replayed(mask_padding(logits > 0, mask))
        return Routing(active, active + (soft - soft.detach()))


class ActivationBudget(Router):
    r"""Any router, with a loss that draws its activation rates to a target.

    $$ \text{activation\_budget} = \text{coefficient} \cdot \frac{1}{M} \sum_m (r_m - \text{rate}_m)^2 $$

    where r is the realised share of the batch's real elements that activate module m. r counts decisions, so
    it has no gradient of its own: the loss is evaluated on it, and differentiated as if it were the mean
    confidence of all real elements. These include the inactive ones, which get no gradient from the layer's
    output: without them a rate that is too low could never rise. (The mean confidence itself would be
    differentiable, but it is not the rate: a tempered softmax that activates nothing may well have a mean
    confidence of 0.49.)

    Decisions and confidences are the wrapped router's.

    Args:
        router: the router.
        rate: the target, in [0, 1]; one for all modules, or one for each. A `Ramp` moves it.
        coefficient: of the loss.

    Raises:
        ValueError: if a rate is not in [0, 1], if there are several but not one per module, or if
            `coefficient` is negative.

    Example:
        >>> router = ActivationBudget(LatentConfigurator(16), rate=0.25, coefficient=1.0)
        >>> routing = router(torch.randn(2, 5, 16))
        >>> realised = routing.active.float().mean()
        >>> bool(torch.isclose(routing.losses["activation_budget"], (realised - 0.25) ** 2))
        True
    """

    def __init__(
        self, router: Router, *, rate: float | Ramp | Sequence[float | Ramp], coefficient: float
    ) -> None:
        super().__init__(router.n_modules)
        each = tuple(rate) if isinstance(rate, Sequence) else (rate,)
        if isinstance(rate, Sequence) and len(each) != self.n_modules:
            raise ValueError(
                f"rate has {len(each)} entries, but the router decides on {self.n_modules} modules; give one "
                "rate for all, or one for each"
            )
        if coefficient < 0:
            raise ValueError(f"coefficient must not be negative, got {coefficient}")
        self.router = router
        self.max_rate = router.max_rate
        targets = [Scheduled(value) for value in each]
        if not all(0 <= value <= 1 for target in targets for value in target.extremes):
            raise ValueError(f"rate is a share of the elements and must be in [0, 1], got {rate}")
        self.rates = nn.ModuleList(targets)
        self.coefficient = coefficient

    @property
    @override
    def causal(self) -> bool:  # type: ignore[override]
        """Whether the wrapped router's decision depends on nothing later."""
        return self.router.causal

    @override
    def forward(self, x: Tensor, mask: Tensor | None = None) -> Routing:
        routing = self.router(x, mask)
        routing = replace(routing, active=replayed(routing.active))
        losses = {**routing.losses, "activation_budget": self._loss(routing, mask)}
        return Routing(routing.active, routing.confidence, losses)

    @override
    def init_state(
        self, batch_size: int, *, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> State:
        return self.router.init_state(batch_size, device=device, dtype=dtype)

    @override
    def step(self, x: Tensor, state: State, mask: Tensor | None = None) -> Routing:
        """Without the loss."""
        return self.router.step(x, state, mask)

    def _loss(self, routing: Routing, mask: Tensor | None) -> Tensor:
        confidence = routing.confidence
        straight_through = routing.active + (confidence - confidence.detach())
        rates, n_real = mean_over_real(straight_through, mask)
        each = torch.split(rates, 1) if len(self.rates) > 1 else (rates,)
        excess = torch.cat([rate - target() for rate, target in zip(each, self.rates, strict=True)])
        return self.coefficient * excess.square().mean() * (n_real > 0)


def project(projection: nn.Linear, x: Tensor, mask: Tensor | None) -> Tensor:
    """Logits `(B, L, M)` in float32 at least, also under autocast; those of padding have no meaning.

    Decisions are steps of the logits, so that rounding them to a half precision would change decisions.
    """
    return affine(x, projection.weight, projection.bias, mask)


def _activate_over_skip(parameter: Tensor) -> Tensor:
    """The rows of "activate" minus those of "skip": half of the products of both."""
    precise = parameter.to(at_least_float32(parameter.dtype))
    return precise[1::2] - precise[::2]


def affine(x: Tensor, weight: Tensor, bias: Tensor | None, mask: Tensor | None) -> Tensor:
    """The same with a weight `(M, D)` and a bias `(M,)`."""
    dtype = at_least_float32(torch.promote_types(x.dtype, weight.dtype))
    with torch.autocast(x.device.type, enabled=False):
        x = zero_padding(x, mask, weight.shape[1]).to(dtype)
        return F.linear(x, weight.to(dtype), None if bias is None else bias.to(dtype))


def mean_over_real(values: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """The mean `(M,)` over the real elements of `values (B, L, M)`, 0 if there are none, and their number."""
    n_real = torch.ones_like(values[..., 0]).sum() if mask is None else mask.sum().to(values)
    return zero_padding(values, mask).sum((0, 1)) / n_real.clamp(min=1), n_real
