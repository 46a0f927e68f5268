"""The search: rounding is not a violation, and a model that remembers calls is searched with fresh copies."""

import torch
from broken_models import Plain, RemembersEarlierRows

from sma.testing.black_box.callers.own import OwnCaller
from sma.testing.black_box.callers.plain import PlainCaller
from sma.testing.black_box.inputs import Features
from sma.testing.black_box.properties.batch_mates import BatchMates
from sma.testing.black_box.properties.cached_decoding import Decoding, DecodingAnew
from sma.testing.black_box.searching import search
from sma.testing.black_box.subject import prepare


class Rounds(Plain):
    """Is coarser in batches, but in float64 hardly."""

    def forward(self, x, mask=None):
        coarse = 1e5 if x.dtype == torch.float32 else 1e-3
        return self.linear(x + coarse - coarse if len(x) > 2 else x)


def subject(model, caller=PlainCaller):
    return prepare(model, caller(model, Features(4)), source=None, max_length=6)


def test_rounding_is_not_a_violation():
    seen = search(BatchMates(), subject(Rounds()), 20)
    assert seen.trial is None
    assert seen.n_trials == 20
    assert seen.largest < 1


def test_a_model_that_remembers_calls_is_searched_with_fresh_copies():
    model = subject(RemembersEarlierRows(), OwnCaller)
    assert search(Decoding("by one", 1), model, 10).trial is None
    assert search(DecodingAnew(), model, 10).trial is not None


def test_the_same_inputs_in_every_run():
    first, second = (search(BatchMates(), subject(Plain()), 5) for _ in range(2))
    assert first.n_trials == second.n_trials == 5
