from typing import Literal

import pytest
from pydantic import ValidationError

from sma import OneOf, Spec, register
from sma.spec.base import children, walk
from sma.spec.bounds import MAX_DEPTH, MAX_PARTS


class NodeSpec(Spec):
    """A family."""


@register
class Leaf(NodeSpec):
    kind: Literal["leaf"] = "leaf"
    weight: float = 1.0


@register
class Branch(NodeSpec):
    kind: Literal["branch"] = "branch"
    first: OneOf[NodeSpec] | None = None
    others: tuple[OneOf[NodeSpec], ...] = ()


def test_families():
    assert Leaf.family() is Branch().family() is NodeSpec
    assert Spec.family() is Spec


def test_walk_finds_every_spec_with_its_path():
    spec = Branch(first="leaf", others=("leaf", Branch(first=Leaf(weight=2.0))))
    assert [(path, part.kind) for path, part in walk(spec)] == [
        ("", "branch"),
        ("first", "leaf"),
        ("others.0", "leaf"),
        ("others.1", "branch"),
        ("others.1.first", "leaf"),
    ]
    assert list(children(spec)) == ["first", "others.0", "others.1"]


def test_specs_are_frozen():
    with pytest.raises(ValidationError, match="frozen"):
        Leaf().weight = 2.0


def test_an_unknown_field_names_the_nearest():
    with pytest.raises(ValidationError, match="unknown field 'wieght'; did you mean weight"):
        Leaf(wieght=3)


def test_numbers_must_be_finite():
    with pytest.raises(ValidationError, match="finite"):
        Leaf(weight=float("nan"))


def chain(depth):
    values = {"kind": "leaf"}
    for _ in range(depth - 1):
        values = {"kind": "branch", "first": values}
    return values


def test_depth_is_bounded():
    assert len(list(walk(Branch.model_validate(chain(MAX_DEPTH))))) == MAX_DEPTH
    with pytest.raises(ValidationError, match=rf"(?m)first\n  specs are nested more than {MAX_DEPTH} deep"):
        Branch.model_validate(chain(MAX_DEPTH + 2))


def test_the_number_of_parts_is_bounded():
    values = {"kind": "branch", "others": ["leaf"] * MAX_PARTS}
    assert len(Branch.model_validate(values).others) == MAX_PARTS
    assert len(Branch.model_validate(values).others) == MAX_PARTS  # counted anew each time
    values["others"] = [{"kind": "branch", "others": ["leaf"] * (MAX_PARTS // 4)}] * 4
    with pytest.raises(ValidationError, match="more than 10,000 parts") as error:
        Branch.model_validate(values)
    assert [mistake["loc"] for mistake in error.value.errors()] == [()]
    assert Branch.model_validate(chain(3)).first.first == Leaf()  # nothing is left of the count
