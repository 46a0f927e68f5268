"""The arguments of `forward`, those included that it passes on."""

import functools

import pytest
from torch import nn

from sma.testing.black_box.callers.arguments import arguments_of


class Base(nn.Module):
    def forward(self, x, mask=None, *, cache=None):
        return x


class Passes(Base):
    def forward(self, x, positions=None, **kw):
        return super().forward(x, **kw)


class PassesTwice(Passes):
    def forward(self, *args, **kw):
        return super().forward(*args, **kw)


class Ends(PassesTwice):
    def forward(self, x, state=None):
        return x


class Inherits(Passes):
    pass


class Alone(nn.Module):
    def forward(self, x, **kw):
        return x


def plain(function):
    def wrapper(*args, **kwargs):
        return function(*args, **kwargs)

    return wrapper


def named(function):
    return functools.wraps(function)(plain(function))


def with_helper(function):
    def other(y):
        return y

    def wrapper(*args, **kwargs):
        return other(function(*args, **kwargs))

    return wrapper


class OfInstance(Base):
    def __init__(self, wrap):
        super().__init__()
        self.forward = wrap(self.forward)


def wrapped(wrap, base=nn.Module):
    """A class whose `forward` a decorator wraps."""
    return type("Wrapped", (base,), {"forward": wrap(Base.forward)})


ALL = ("x", "mask", "cache")


@pytest.mark.parametrize(
    ("model", "names"),
    [
        (Base(), ALL),
        (Passes(), ("x", "positions", "mask", "cache")),
        (PassesTwice(), ("x", "positions", "mask", "cache")),
        (Ends(), ("x", "state")),
        (Inherits(), ("x", "positions", "mask", "cache")),
        *((wrapped(wrap)(), ALL) for wrap in (plain, named, with_helper)),
        (wrapped(plain, Passes)(), ALL),
        (wrapped(lambda function: plain(plain(function)))(), ()),
        *((OfInstance(wrap), ALL) for wrap in (plain, named)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_names(model, names):
    assert arguments_of(model).names == names


def test_whether_there_may_be_others():
    found = arguments_of(Alone())
    assert (found.names, found.any_keyword, found.unknown) == (("x",), True, True)
    why = found.lacking("mask", "it takes no mask", remedy=", or give call")
    assert why == "its forward(x, **kw) does not name mask; name it, or give call"
    for model in (Base(), Passes(), Ends()):
        found = arguments_of(model)
        assert (found.any_keyword, found.unknown) == (False, False)
        assert found.lacking("mask", "it takes no mask", remedy="") == "it takes no mask"


def test_what_transformers_itself_does_not_name_is_not_there():
    transformers = pytest.importorskip("transformers")
    config = transformers.BloomConfig(vocab_size=8, hidden_size=8, n_layer=1, n_head=1)
    found = arguments_of(transformers.BloomForCausalLM(config))
    assert (found.any_keyword, found.unknown) == (True, False)
    assert "attention_mask" in found.names
    assert "position_ids" not in found.names
