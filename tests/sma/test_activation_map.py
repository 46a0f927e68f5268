"""Names of sub-modules in pictures and reports."""

from torch import nn

import sma
from sma.activation_map import kinds, sub_module_names
from sma.modules import ExpertBank, FeedForward, LatentConfigurator, MixtureOfExperts, TopKRouter
from sma.modules.adapters import SequenceSubModule
from sma.testing import CausalMean

D = 4


def test_adapters_are_named_after_what_they_wrap():
    parts = [
        FeedForward(D, d_hidden=5),
        sma.Pointwise(nn.Linear(D, D)),
        SequenceSubModule(sma.PerElement(nn.Tanh())),
        SequenceSubModule(sma.SMA(LatentConfigurator(D), [CausalMean(D)])),
    ]
    layer = sma.SMA(LatentConfigurator(D, n_modules=4), parts)
    assert kinds(layer) == ["FeedForward", "Linear", "Tanh", "SparseModularActivation"]


def test_experts_are_numbered():
    router = TopKRouter(D, n_modules=2, top_k=1, normalize=False)
    layer = MixtureOfExperts(router, ExpertBank(D, n_experts=2, d_hidden=5))
    assert sub_module_names([["GAU"], kinds(layer)]) == (
        "layer 1, GAU",
        "layer 2, ExpertBank 1",
        "layer 2, ExpertBank 2",
    )
