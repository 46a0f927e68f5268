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


class Passing(nn.TransformerEncoderLayer):
    def forward(self, src, **kw):
        return super().forward(src, **kw)


class Open(nn.Linear):
    def forward(self, x, **kw):
        return super().forward(x)


def test_masks_that_are_passed_on_or_not_named():
    passing = PlainCaller(Passing(4, 2, batch_first=True), Features(4))
    assert passing.forward(mask="mask") == "model(x, src_key_padding_mask=~mask)"
    unnamed = PlainCaller(nn.Sequential(Open(4, 4)), Features(4))
    assert unnamed.why_no_mask == "it takes no mask of padding"
    unnamed = PlainCaller(type("Any", (nn.Module,), {"forward": Open.forward})(), Features(4))
    assert not unnamed.masks
    assert unnamed.why_no_mask == (
        "its forward(x, **kw) does not name mask or key_padding_mask; name it, or give a function "
        "(model, x, mask) by call=, or --call"
    )


def test_whether_a_function_takes_a_mask():
    assert FunctionCaller(first, Features(4)).masks
    assert FunctionCaller(lambda *arguments: arguments[0](arguments[1]), Features(4)).masks
    without = FunctionCaller(lambda model, x: model(x), Features(4))
    assert not without.masks
    assert without.why_no_mask == "the function that calls it takes no mask; give one (model, x, mask)"


def test_the_lines_of_a_function():
    caller = FunctionCaller(first, Features(4))
    assert caller.setup == ("def first(model, x, mask):", "    return model(x)[0]", "call = first")
    assert caller.forward(mask="mask") == "call(model, x, mask)"
    assert caller.names["call"] is first


def helped(model, x, mask):
    return first(model, x, mask)


def test_a_function_that_needs_others_is_imported():
    assert FunctionCaller(helped, Features(4)).setup == (f"from {__name__} import helped as call",)


def test_a_function_whose_source_is_not_known_is_imported():
    names = {"__name__": "theirs"}
    exec("def theirs(model, x): return model(x)", names)
    assert FunctionCaller(names["theirs"], Features(4)).setup == ("from theirs import theirs as call",)
