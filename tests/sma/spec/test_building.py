"""Errors of a `build` know the part, whatever builds it."""

from typing import Literal

import pytest
import torch
from torch import nn

from sma import OneOf, Spec
from sma.spec.base import find_part
from sma.spec.building import line_of, needs_data, only_tried, trying


class NumberSpec(Spec):
    """A family."""

    def build(self) -> int:
        """A number."""
        raise NotImplementedError


class One(NumberSpec):
    kind: Literal["one"] = "one"
    built: object = 1

    def build(self):
        if isinstance(self.built, Exception):
            raise self.built
        return self.built


class Sum(NumberSpec):
    kind: Literal["sum"] = "sum"
    terms: tuple[OneOf[NumberSpec], ...]

    def build(self):
        return sum(term.build() for term in self.terms)


class Copying(Sum):
    kind: Literal["copying"] = "copying"

    def build(self):
        return sum(term.model_copy().build() for term in self.terms)


def caught(spec):
    with pytest.raises(Exception) as error:  # noqa: PT011 - the test looks at it
        spec.build()
    return error.value


def test_an_error_stays_what_it_is_and_leads_to_its_part():
    wrong = One(built=KeyError("size"))
    spec = Sum(terms=(One(), Sum(terms=(One(), wrong))))
    assert Sum(terms=(One(), One())).build() == 2
    error = caught(spec)
    assert error is wrong.built
    assert find_part(spec, error) == ("terms.1.terms.1", wrong)
    assert line_of(error).startswith("test_building.py, line ")


def test_one_part_in_two_places_is_found_where_it_failed():
    class Odd(NumberSpec):
        kind: Literal["odd"] = "odd"

        def build(self):
            seen.append(self)
            if len(seen) == 2:
                raise ValueError("the second time")
            return 1

    seen, part = [], Odd()
    spec = Sum(terms=(Sum(terms=(part,)), Sum(terms=(part,))))
    assert find_part(spec, caught(spec))[0] == "terms.1.terms.0"


def test_what_a_build_makes_by_itself_is_told_at_the_part_that_made_it():
    wrong = One(built=KeyError("size"))
    spec = Sum(terms=(One(), Copying(terms=(wrong,))))
    path, part = find_part(spec, caught(spec))
    assert (path, type(part)) == ("terms.1", One)


@pytest.mark.parametrize(
    ("built", "message"),
    [
        (None, "One.build returns nothing; end it with `return` and the int"),
        ("1", "One builds str, which is not a int; derive it from that"),
    ],
)
def test_what_the_family_does_not_build_is_refused(built, message):
    spec = Sum(terms=(One(), One(built=built)))
    error = caught(spec)
    assert str(error) == message
    assert find_part(spec, error)[0] == "terms.1"


def test_what_is_tried_is_checked_part_by_part():
    def check(part, built):
        if built == 3:
            raise ValueError("three")

    spec = Sum(terms=(One(), Sum(terms=(One(built=3),))))
    assert not only_tried()
    with trying(check):
        assert only_tried()
        error = caught(spec)
    assert (str(error), find_part(spec, error)[0]) == ("three", "terms.1.terms.0")
    assert not only_tried()
    assert spec.build() == 4


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (RuntimeError("Tensor.item() cannot be called on meta tensors"), True),
        (NotImplementedError("Could not run 'aten::nonzero' with arguments from the 'Meta' backend"), True),
        (TypeError("__init__() got an unexpected keyword argument 'meta'"), False),
        (RuntimeError("no metadata"), False),
        (ValueError("meta"), False),
    ],
)
def test_errors_that_only_say_that_there_is_no_data(error, expected):
    assert needs_data(error) == expected


def test_what_is_tried_takes_no_random_numbers():
    before = torch.get_rng_state()
    with trying(lambda spec, built: None):
        torch.empty(4).data.uniform_()
        nn.Linear(3, 3)
        torch.rand(2, device="cpu")
    assert torch.equal(torch.get_rng_state(), before)
