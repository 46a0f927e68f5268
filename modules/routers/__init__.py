"""Routers: what decides which elements activate which sub-modules."""

from sma.modules.routers.budget import ActivationBudget
from sma.modules.routers.fixed import AlwaysActive, NeverActive, RandomRouter
from sma.modules.routers.pointwise import GumbelRouter, LatentConfigurator, SigmoidRouter
from sma.modules.routers.ramp import Ramp, Scheduled, set_progress
from sma.modules.routers.top_k import ExpertChoiceRouter, TopKRouter

__all__ = [
    "ActivationBudget",
    "AlwaysActive",
    "ExpertChoiceRouter",
    "GumbelRouter",
    "LatentConfigurator",
    "NeverActive",
    "Ramp",
    "RandomRouter",
    "Scheduled",
    "SigmoidRouter",
    "TopKRouter",
    "set_progress",
]
