"""The contracts over the project's own modules, in variants that the tests of each module leave out.

Those tests (tests/modules/test_*.py) hold the first suite of every module; the last test here checks that.
"""

import ast
import importlib
import inspect
import pkgutil
from itertools import product
from pathlib import Path

import pytest
from torch import nn

import sma.architectures
import sma.modules
from sma import SMA, CapacityCompaction, Compaction, PaddedCompaction, Router, SequenceModule, SubModule
from sma.architectures import Residual, SeqBoat
from sma.architectures.specs.attention import LearnedBiasSpec
from sma.architectures.specs.norms import ScaleNormSpec
from sma.modules import (
    ActivationBudget,
    AlwaysActive,
    BatchNorm,
    ExpertChoiceRouter,
    FeedForward,
    GumbelRouter,
    LatentConfigurator,
    MultiHeadEMA,
    Ramp,
    RandomRouter,
    SigmoidRouter,
    TopKRouter,
)
from sma.modules.attention.gau import GAU
from sma.modules.attention.positions import LearnedBias, RankBias, Rotary, T5Bias
from sma.testing import RouterContract, SequenceModuleContract, SubModuleContract

NAN = float("nan")


class TestSwitchRouter(RouterContract):
    def make(self):
        return TopKRouter(self.d_model, n_modules=3, top_k=1, normalize=False, jitter=0.1)

    def reachable(self, n_modules):
        return {subset for subset in product((False, True), repeat=n_modules) if sum(subset) == 1}


class TestExpertChoiceRouterWithSoftmax(RouterContract):
    def make(self):
        return ExpertChoiceRouter(self.d_model, n_modules=3, capacity=0.4, softmax=True)


class TestActivationBudgetOfRandomRouter(RouterContract):
    """A wrapped router with a state."""

    def make(self):
        return ActivationBudget(RandomRouter(2, rate=0.5), rate=0.3, coefficient=1.0)


class TestActivationBudgetOfGumbelRouter(RouterContract):
    """Settings that move, one rate per module, and every subset of three modules."""

    smooth = False

    def make(self):
        router = GumbelRouter(self.d_model, n_modules=3, temperature=Ramp(2.0, 0.5))
        return ActivationBudget(router, rate=(0.5, Ramp(1.0, 0.2), 0.1), coefficient=1.0)


class TestActivationBudgetOfTopKRouter(RouterContract):
    """A wrapped router with losses of its own."""

    def make(self):
        return ActivationBudget(TopKRouter(self.d_model, n_modules=3, top_k=2), rate=0.5, coefficient=1.0)

    def reachable(self, n_modules):
        return {subset for subset in product((False, True), repeat=n_modules) if sum(subset) == 2}


class TestActivationBudgetOfExpertChoiceRouter(RouterContract):
    """A wrapped router that looks ahead."""

    def make(self):
        router = ExpertChoiceRouter(self.d_model, n_modules=2, capacity=0.3)
        return ActivationBudget(router, rate=0.2, coefficient=1.0)


class TestLatentConfiguratorOfThree(RouterContract):
    def make(self):
        return LatentConfigurator(self.d_model, n_modules=3, init_temperature_scale=0.3)


class TestSigmoidRouterWithThreshold(RouterContract):
    def make(self):
        return SigmoidRouter(self.d_model, n_modules=3, threshold=0.6)


class TestGAURelu2(SubModuleContract):
    def make(self):
        return GAU(self.d_model, d_qk=4, window=3, attention="relu2", position=LearnedBias(7))


class TestGAUT5(SubModuleContract):
    def make(self):
        return GAU(self.d_model, d_qk=4, window=3, position=T5Bias(n_buckets=4, max_distance=6))


class TestGAUBidirectional(SubModuleContract):
    def make(self):
        position = RankBias(3, bidirectional=True)
        return GAU(self.d_model, d_qk=4, window=3, bidirectional=True, attention="laplace", position=position)


class TestLongMultiHeadEMA(SequenceModuleContract):
    """Rows beyond the lengths at which other algorithms take over."""

    max_length = 80

    def make(self):
        return MultiHeadEMA(self.d_model, d_state=4)


class TestLongTruncatedMultiHeadEMA(SequenceModuleContract):
    max_length = 40

    def make(self):
        return MultiHeadEMA(self.d_model, d_state=4, truncation=17)


class TestLayerOfTwoKinds(SequenceModuleContract):
    padding = junk = NAN
    jumps = True

    def make(self):
        router = LatentConfigurator(self.d_model, n_modules=2, init_temperature_scale=0.5)
        gau = GAU(self.d_model, d_qk=4, window=2, position=Rotary(4), dropout=0.1)
        return SMA(router, [gau, FeedForward(self.d_model, d_hidden=12)], compaction=PaddedCompaction())


class TestBidirectionalLayer(SequenceModuleContract):
    jumps = True

    def make(self):
        router = ExpertChoiceRouter(self.d_model, n_modules=2, capacity=0.5)
        gaus = [GAU(self.d_model, d_qk=4, window=2, bidirectional=True) for _ in range(2)]
        return SMA(router, gaus, compaction=CapacityCompaction(12))


class TestSeqBoat(SequenceModuleContract):
    padding = junk = NAN
    jumps = True
    max_length = 20

    def make(self):
        return SeqBoat(self.d_model, d_qk=4, window=3, d_state=2, truncation=5, dropout=0.1)


class TestSeqBoatBidirectional(SequenceModuleContract):
    """As in the published configurations for Long Range Arena: post-norm, learned bias."""

    padding = junk = NAN
    jumps = True

    def make(self):
        return SeqBoat(
            self.d_model,
            d_qk=4,
            window=3,
            d_state=2,
            bidirectional=True,
            position=LearnedBiasSpec(max_positions=9),
            norm=ScaleNormSpec(),
            norm_position="post",
        )


class TestResidualWithoutMixer(SequenceModuleContract):
    """A transformer's block with batch norm."""

    padding = junk = NAN

    def make(self):
        attention = SMA(AlwaysActive(1), [GAU(self.d_model, d_qk=4, window=3)])
        return Residual([attention], norm=BatchNorm(self.d_model), activation=nn.Identity(), dropout=0.1)


def _public_modules():
    for package in (sma.modules, sma.architectures):
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            yield importlib.import_module(module.name)


def _concrete_classes():
    for module in _public_modules():
        for name, thing in inspect.getmembers(module, inspect.isclass):
            ours = thing.__module__ == module.__name__ and not name.startswith("_")
            if ours and not inspect.isabstract(thing):
                yield thing


def _under_contract():
    """Names that contract suites mention, in the suite or in what they use of their file."""
    names = set()
    for path in Path(__file__).parents[1].rglob("test_*.py"):
        mentioned = {
            node.name: {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
            for node in ast.parse(path.read_text()).body
            if isinstance(node, ast.ClassDef | ast.FunctionDef)
        }
        todo = [name for name, parts in mentioned.items() if any(p.endswith("Contract") for p in parts)]
        while todo:
            parts = mentioned.pop(todo.pop(), set())
            names |= parts
            todo += parts & mentioned.keys()
    return names


INDIRECTLY = {"ReferenceLayer", "SequenceSubModule", "Stack"}
"""Under contract through the specs that build them, or nothing but wrappers of modules that are."""


@pytest.mark.parametrize("kind", [Router, SubModule, SequenceModule, Compaction])
def test_every_module_is_under_contract(kind):
    classes = {c.__name__ for c in _concrete_classes() if issubclass(c, kind)}
    missing = sorted(classes - _under_contract() - INDIRECTLY)
    assert not missing, f"derive a contract suite from sma.testing for {missing}"
