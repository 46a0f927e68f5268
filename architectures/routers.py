"""Specs of routers."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from sma import OneOf, Router, register
from sma.architectures.families import Probability, RouterSpec, Size
from sma.modules import (
    ActivationBudget,
    AlwaysActive,
    ExpertChoiceRouter,
    GumbelRouter,
    LatentConfigurator,
    NeverActive,
    RandomRouter,
    SigmoidRouter,
    TopKRouter,
)

Coefficient = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]


@register
class LatentConfiguratorSpec(RouterSpec):
    """Builds `LatentConfigurator`."""

    kind: Literal["latent_configurator"] = "latent_configurator"
    init_temperature_scale: Positive = 1.0

    def build(self, d_model: int, n_modules: int) -> LatentConfigurator:
        """See `RouterSpec.build`."""
        return LatentConfigurator(
            d_model, n_modules=n_modules, init_temperature_scale=self.init_temperature_scale
        )


@register
class AlwaysActiveSpec(RouterSpec):
    """Builds `AlwaysActive`."""

    kind: Literal["always"] = "always"

    def build(self, d_model: int, n_modules: int) -> AlwaysActive:
        """See `RouterSpec.build`."""
        return AlwaysActive(n_modules)


@register
class NeverActiveSpec(RouterSpec):
    """Builds `NeverActive`."""

    kind: Literal["never"] = "never"

    def build(self, d_model: int, n_modules: int) -> NeverActive:
        """See `RouterSpec.build`."""
        return NeverActive(n_modules)


@register
class RandomSpec(RouterSpec):
    """Builds `RandomRouter`."""

    kind: Literal["random"] = "random"
    rate: Probability
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0

    def build(self, d_model: int, n_modules: int) -> RandomRouter:
        """See `RouterSpec.build`."""
        return RandomRouter(n_modules, rate=self.rate, seed=self.seed)
