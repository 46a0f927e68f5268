"""Specs of routers."""

from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import Discriminator, Field, Tag
from typing_extensions import override

from sma import OneOf, register
from sma.architectures.specs.families import RouterSpec
from sma.architectures.specs.fields import Coefficient, Positive, Probability, Share, Size
from sma.modules import (
    ActivationBudget,
    AlwaysActive,
    ExpertChoiceRouter,
    GumbelRouter,
    LatentConfigurator,
    NeverActive,
    Ramp,
    RandomRouter,
    SigmoidRouter,
    TopKRouter,
)
from sma.spec.base import Fields, as_arguments

Number = TypeVar("Number")


class RampSpec(Fields, Generic[Number]):
    """Builds `Ramp`, a number that changes during training.

    Attributes:
        start: its value at first.
        end: its value at last.
        over: the share of training that it takes to get there.
    """

    start: Number
    end: Number
    over: Share = 1.0


def _form(value: Any) -> str:
    """Whether a field holds a ramp or a number, so that an error is about that alone."""
    return "a-ramp" if isinstance(value, dict | RampSpec) else "a-number"


def _form_or_list(value: Any) -> str:
    return "a-list" if isinstance(value, list | tuple) else _form(value)


PositiveRamp = Annotated[
    Annotated[Positive, Tag("a-number")] | Annotated[RampSpec[Positive], Tag("a-ramp")],
    Discriminator(_form),
]
ProbabilityRamp = Annotated[
    Annotated[Probability, Tag("a-number")] | Annotated[RampSpec[Probability], Tag("a-ramp")],
    Discriminator(_form),
]
ProbabilityRamps = Annotated[
    Annotated[Probability, Tag("a-number")]
    | Annotated[RampSpec[Probability], Tag("a-ramp")]
    | Annotated[tuple[ProbabilityRamp, ...], Tag("a-list")],
    Discriminator(_form_or_list),
]


@register
class LatentConfiguratorSpec(RouterSpec):
    """Builds `LatentConfigurator`."""

    kind: Literal["latent_configurator"] = "latent_configurator"
    init_temperature_scale: Positive = 1.0

    @override
    def build(self, d_model: int, n_modules: int) -> LatentConfigurator:
        return LatentConfigurator(
            d_model, n_modules=n_modules, init_temperature_scale=self.init_temperature_scale
        )


@register
class SigmoidSpec(RouterSpec):
    """Builds `SigmoidRouter`."""

    kind: Literal["sigmoid"] = "sigmoid"
    threshold: Annotated[float, Field(ge=0, lt=1)] = 0.5

    @override
    def build(self, d_model: int, n_modules: int) -> SigmoidRouter:
        return SigmoidRouter(d_model, n_modules=n_modules, threshold=self.threshold)


@register
class GumbelSpec(RouterSpec):
    """Builds `GumbelRouter`.

    Attributes:
        temperature: of the relaxation: a number, or a ramp that anneals it.
    """

    kind: Literal["gumbel"] = "gumbel"
    temperature: PositiveRamp = 1.0

    @override
    def build(self, d_model: int, n_modules: int) -> GumbelRouter:
        return GumbelRouter(d_model, n_modules=n_modules, temperature=_ramp(self.temperature))


@register
class TopKSpec(RouterSpec):
    """Builds `TopKRouter`.

    Attributes:
        top_k: sub-modules per element.
        normalize: whether the confidences of an element sum to 1 (Mixtral), or not (Switch).
        balance_coefficient: of the load-balance loss.
        z_coefficient: of the z-loss.
        jitter: multiplicative noise on the router's input in training.
    """

    kind: Literal["top_k"] = "top_k"
    top_k: Size
    normalize: bool = True
    balance_coefficient: Coefficient = 0.01
    z_coefficient: Coefficient = 0.001
    jitter: Annotated[float, Field(ge=0, lt=1)] = 0.0

    @override
    def build(self, d_model: int, n_modules: int) -> TopKRouter:
        return TopKRouter(d_model, n_modules=n_modules, **as_arguments(self))


@register
class ExpertChoiceSpec(RouterSpec):
    """Builds `ExpertChoiceRouter`.

    Attributes:
        capacity: share of a row's elements that each sub-module takes.
        softmax: confidences over modules instead of independent sigmoids.
        d_predictor: hidden width of the causal predictor that decides in decoding, without which a language
            model refuses the router (https://arxiv.org/abs/2404.02258); None: no predictor.
    """

    kind: Literal["expert_choice"] = "expert_choice"
    capacity: Share
    softmax: bool = False
    d_predictor: Size | None = None

    @override
    def build(self, d_model: int, n_modules: int) -> ExpertChoiceRouter:
        return ExpertChoiceRouter(d_model, n_modules=n_modules, **as_arguments(self))


@register
class ActivationBudgetSpec(RouterSpec):
    """Builds `ActivationBudget` around another router.

    Attributes:
        router: the router.
        rate: the share of elements that each sub-module should be activated by; one for all, or a list of
            one for each. A ramp moves it.
        coefficient: of the loss.
    """

    kind: Literal["activation_budget"] = "activation_budget"
    router: OneOf[RouterSpec]
    rate: ProbabilityRamps
    coefficient: Coefficient

    @override
    def build(self, d_model: int, n_modules: int) -> ActivationBudget:
        router = self.router.build(d_model, n_modules)
        rate = tuple(map(_ramp, self.rate)) if isinstance(self.rate, tuple) else _ramp(self.rate)
        return ActivationBudget(router, rate=rate, coefficient=self.coefficient)


@register
class AlwaysActiveSpec(RouterSpec):
    """Builds `AlwaysActive`."""

    kind: Literal["always"] = "always"

    @override
    def build(self, d_model: int, n_modules: int) -> AlwaysActive:
        return AlwaysActive(n_modules)


@register
class NeverActiveSpec(RouterSpec):
    """Builds `NeverActive`."""

    kind: Literal["never"] = "never"

    @override
    def build(self, d_model: int, n_modules: int) -> NeverActive:
        return NeverActive(n_modules)


@register
class RandomSpec(RouterSpec):
    """Builds `RandomRouter`.

    Attributes:
        seed: layers with the same seed decide alike, those of a `repeat` too: give each layer its own.
    """

    kind: Literal["random"] = "random"
    rate: Probability
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0

    @override
    def build(self, d_model: int, n_modules: int) -> RandomRouter:
        return RandomRouter(n_modules, rate=self.rate, seed=self.seed)


def _ramp(value: float | RampSpec[float]) -> float | Ramp:
    return Ramp(value.start, value.end, value.over) if isinstance(value, RampSpec) else value
