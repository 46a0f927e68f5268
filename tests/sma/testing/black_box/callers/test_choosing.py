"""The choice of a caller: what a model reads is found, or it is said what to name."""

import pytest
import torch
from broken_models import Plain, RunningMean
from torch import nn

from sma.architectures import seqboat
from sma.testing.black_box.callers.choosing import choose_caller
from sma.testing.black_box.callers.own import OwnCaller
from sma.testing.black_box.callers.plain import FunctionCaller, PlainCaller
from sma.testing.black_box.inputs import Features, Tokens


class Pool(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(20, 4)

    def forward(self, x, attention_mask=None):
        return self.embedding(x).mean(1)


class Lacking(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(3))

    def forward(self, x):
        return x


@pytest.mark.parametrize(
    ("model", "kind", "inputs", "pooled", "masks"),
    [
        (Plain(), PlainCaller, Features(4), False, True),
        (Pool(), PlainCaller, Tokens(tuple(range(2, 18, 2)), 0), True, True),
        (nn.Sequential(nn.LayerNorm(6), nn.Linear(6, 6)), PlainCaller, Features(6), False, False),
        (nn.MultiheadAttention(8, 2), None, Features(8), False, True),
        (RunningMean(), OwnCaller, Features(4), False, True),
        (
            seqboat(vocab_size=9, d_model=8, n_layers=1).build(),
            OwnCaller,
            Tokens(tuple(range(1, 9)), 0),
            False,
            True,
        ),
        (seqboat(d_input=3, n_classes=2, d_model=8, n_layers=1).build(), OwnCaller, Features(3), True, True),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_found(model, kind, inputs, pooled, masks):
    if kind is None:  # it is found what it reads, but it is called otherwise
        with pytest.raises(
            ValueError, match=r"MultiheadAttention cannot be called as model\(x\) .* give a func"
        ):
            choose_caller(model)
        return
    caller = choose_caller(model.eval())
    assert type(caller) is kind
    assert (caller.inputs, caller.pooled, caller.masks) == (inputs, pooled, masks)


def test_a_function_of_a_few_lines():
    caller = choose_caller(nn.LSTM(4, 6, batch_first=True), call=lambda model, x: model(x)[0], d_model=4)
    assert type(caller) is FunctionCaller
    assert not caller.masks
    assert caller.forward() == "call(model, x)"


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (Lacking(), {}, "what Lacking reads is not known.*give d_model, or vocab_size"),
        (Plain(), {"vocab_size": 3, "d_model": 4}, "vocab_size=3 and d_model=4 both say"),
        (Plain(), {"d_model": 5}, "Plain cannot be called as model.x. with x = table.*RuntimeError"),
        (Plain(), {"call": lambda model, x: "text"}, "returns str for 2 rows of 3 elements"),
        (Plain(), {"call": lambda model, x: x[:, :2]}, r"returns \(2, 2, 4\) for rows of 3 elements"),
        (Plain(), {"call": lambda model, x: x.sum()}, r"returns a tensor of \(\)"),
    ],
)
def test_what_cannot_be_called(model, options, message):
    with pytest.raises(ValueError, match=message):
        choose_caller(model, **options)
