"""Calls of modules, and the lines that tell a function."""

from torch import nn

from sma.testing.black_box.callers.plain import FunctionCaller, PlainCaller
from sma.testing.black_box.inputs import Features


def first(model, x, mask):
    return model(x)[0]


def test_masks_of_either_meaning():
    encoder = PlainCaller(
        nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2, batch_first=True), 1), Features(4)
    )
    assert encoder.forward(mask="mask") == "model(x, src_key_padding_mask=~mask)"
    assert encoder.forward() == "model(x)"


def test_the_lines_of_a_function():
    caller = FunctionCaller(first, Features(4))
    assert caller.setup == ("def first(model, x, mask):", "    return model(x)[0]", "call = first")
    assert caller.forward(mask="mask") == "call(model, x, mask)"
    assert caller.names["call"] is first


def test_a_function_whose_source_is_not_known_is_imported():
    names = {"__name__": "theirs"}
    exec("def theirs(model, x): return model(x)", names)
    assert FunctionCaller(names["theirs"], Features(4)).setup == ("from theirs import theirs as call",)
