import pytest
from torch import nn

from sma import SMA, Router, SequenceModule, SubModule
from sma.causality import check_causal, looking_ahead
from sma.modules import Dense, ExpertChoiceRouter, MultiHeadEMA
from sma.modules.adapters import SequenceSubModule
from sma.modules.routers.budget import ActivationBudget
from sma.testing import CausalMean, InputRouter

D = 4


class Reverse(SequenceModule):
    causal = False

    def forward(self, x, mask=None):
        return x.flip(1)


class ReverseElements(SubModule):
    causal = False

    def forward(self, elements):
        return elements.x.flip(0)


class Ahead(Router):
    causal = False

    def forward(self, x, mask=None):
        raise AssertionError("not called")


class Claims(SequenceModule):
    """A container that says causal whatever is inside."""

    causal = True

    def __init__(self, part):
        super().__init__()
        self.part = part

    def forward(self, x, mask=None):
        return self.part(x, mask)


class Denies(Claims):
    causal = False


class Norm(nn.Module):
    """Of no contract at all."""

    causal = False


def expert_choice(d_predictor=None):
    return ExpertChoiceRouter(D, n_modules=1, capacity=0.5, d_predictor=d_predictor)


@pytest.mark.parametrize(
    ("module", "paths"),
    [
        (Reverse(), [""]),
        (Claims(Reverse()), ["part"]),
        (Denies(MultiHeadEMA(D)), [""]),
        (Claims(Claims(MultiHeadEMA(D, bidirectional=True))), ["part.part"]),
        (Claims(nn.Sequential(nn.Identity(), Norm())), ["part.1"]),
        (Claims(nn.LSTM(D, D, bidirectional=True)), ["part"]),
        (Dense(ReverseElements()), ["module"]),
        (SMA(Ahead(2), [CausalMean(D), ReverseElements()]), ["router", "sub_modules.1"]),
        (SMA(InputRouter(1), [SequenceSubModule(Dense(ReverseElements()))]), ["sub_modules.0.module.module"]),
        (SMA(ActivationBudget(expert_choice(), rate=0.5, coefficient=1), [CausalMean(D)]), ["router.router"]),
    ],
)
def test_the_innermost_modules_that_look_ahead_are_named(module, paths):
    assert list(looking_ahead(module)) == paths
    assert all(module.get_submodule(path) is part for path, part in looking_ahead(module).items())


@pytest.mark.parametrize(
    "module",
    [
        MultiHeadEMA(D),
        Claims(nn.Sequential(nn.LayerNorm(D), nn.LSTM(D, D))),
        SMA(InputRouter(1), [CausalMean(D)]),
        SMA(expert_choice(d_predictor=3), [CausalMean(D)]),
        SMA(ActivationBudget(expert_choice(d_predictor=3), rate=0.5, coefficient=1), [CausalMean(D)]),
    ],
)
def test_what_is_causal_or_predicts_is_not_named(module):
    assert not looking_ahead(module)
    check_causal(module)


def test_a_router_that_predicts_excuses_no_other_module():
    routed = SMA(expert_choice(d_predictor=3), [ReverseElements()])
    assert list(looking_ahead(routed)) == ["sub_modules.0"]
    assert list(looking_ahead(Denies(SMA(expert_choice(d_predictor=3), [CausalMean(D)])))) == [""]


class Backwards(Claims):
    """Says that it looks ahead by the name of its option."""

    causal = SequenceModule.causal
    bidirectional = True


def test_a_router_that_predicts_excuses_no_bidirectional_container():
    assert list(looking_ahead(Backwards(SMA(expert_choice(d_predictor=3), [CausalMean(D)])))) == [""]


def test_the_message_is_short_and_has_a_remedy():
    many = nn.ModuleList([Reverse() for _ in range(7)])
    with pytest.raises(
        ValueError, match=r"but Reverse at 0, Reverse at 1, Reverse at 2 and 4 more look ahead; set bidirec"
    ):
        check_causal(many)
    with pytest.raises(ValueError, match="but Reverse looks ahead"):
        check_causal(Reverse())


def test_it_does_not_take_long_in_deep_nests():
    module: nn.Module = MultiHeadEMA(D, bidirectional=True)
    for _ in range(60):
        module = Dense(SequenceSubModule(module))
    assert not module.causal
    assert list(looking_ahead(module)) == [".".join(["module.module"] * 60)]
