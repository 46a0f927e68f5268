from dataclasses import dataclass
from typing import Any, Literal

import pytest
from pydantic import TypeAdapter, ValidationError

import sma.spec
from sma import OneOf, Spec, register
from sma.spec import find, json_schema, kinds, walk


class AnimalSpec(Spec):
    """A family."""


class FoodSpec(Spec):
    """Another."""


@register
class Cat(AnimalSpec):
    kind: Literal["cat"] = "cat"
    lives: int = 9
    food: OneOf[FoodSpec] | None = None
    kittens: tuple[OneOf[AnimalSpec], ...] = ()


@register
class Dog(AnimalSpec):
    kind: Literal["dog"] = "dog"


@register
class Fish(FoodSpec):
    kind: Literal["fish"] = "fish"
    bones: bool = True


class Owl(AnimalSpec):
    """Of another package: known by its entry point only."""

    kind: Literal["owl"] = "owl"


ANIMAL: TypeAdapter[Any] = TypeAdapter(OneOf[AnimalSpec])


@dataclass(frozen=True)
class Point:
    """An entry point."""

    name: str
    thing: Any
    value: str = "somewhere:Thing"
    dist: Any = None

    def load(self):
        if isinstance(self.thing, Exception):
            raise self.thing
        return self.thing


@pytest.fixture
def installed(monkeypatch):
    """Pretend that packages with these entry points are installed."""
    return lambda *points: monkeypatch.setattr(sma.spec, "_entry_points", lambda: points)


def test_families():
    assert Cat.family() is AnimalSpec
    assert Fish(bones=False).family() is FoodSpec
    assert kinds(AnimalSpec) == {"cat": Cat, "dog": Dog}


@pytest.mark.parametrize("value", ["dog", {"kind": "dog"}, Dog()])
def test_a_field_takes_a_kind_a_mapping_or_a_spec(value):
    assert ANIMAL.validate_python(value) == Dog()


def test_a_dump_holds_every_field_of_what_a_field_holds():
    cat = Cat(food={"kind": "fish", "bones": False}, kittens=("dog", {"kind": "cat", "lives": 1}))
    assert cat.model_dump()["food"] == {"kind": "fish", "bones": False}
    assert cat.model_dump()["kittens"][1]["lives"] == 1
    assert ANIMAL.validate_json(ANIMAL.dump_json(cat)) == cat


def test_a_spec_of_another_family_is_refused():
    with pytest.raises(ValidationError, match="AnimalSpec"):
        ANIMAL.validate_python(Fish())


def test_an_unknown_kind_names_the_nearest():
    message = r"unknown kind 'cta'.*did you mean 'cat'.*kinds: cat, dog; one of another package needs that"
    with pytest.raises(ValidationError, match=message):
        ANIMAL.validate_python("cta")


def test_a_missing_kind_names_those_that_exist():
    with pytest.raises(ValidationError, match="needs a `kind`, one of: cat, dog"):
        ANIMAL.validate_python({"lives": 3})


def test_an_unknown_field_names_the_nearest():
    with pytest.raises(ValidationError, match="unknown field 'live'; did you mean 'lives'"):
        Cat(live=3)


def test_a_spec_needs_its_own_kind():
    with pytest.raises(ValueError, match="Nameless needs its own kind"):

        @register
        class Nameless(AnimalSpec):
            pass


def test_a_kind_is_unique_in_its_family():
    with pytest.raises(ValueError, match=r"'cat' of AnimalSpec is registered by both .*Cat and .*Lion"):

        @register
        class Lion(AnimalSpec):
            kind: Literal["cat"] = "cat"


def test_a_kind_may_repeat_in_another_family():
    @register
    class CatFood(FoodSpec):
        kind: Literal["cat"] = "cat"

    assert find(FoodSpec, "cat") is CatFood
    assert find(AnimalSpec, "cat") is Cat


def test_a_reloaded_class_replaces_itself():
    def define():
        @register
        class Fox(FoodSpec):
            kind: Literal["fox"] = "fox"

        return Fox

    first, second = define(), define()
    assert find(FoodSpec, "fox") is second is not first


def test_a_package_adds_a_kind_by_an_entry_point(installed):
    installed(Point("owl", Owl))
    assert ANIMAL.validate_python({"kind": "owl"}) == Owl()
    assert kinds(AnimalSpec)["owl"] is Owl
    assert "owl" not in kinds(FoodSpec)


def test_a_package_that_fails_to_import_is_named_only_when_asked_for(installed):
    installed(Point("owl", ImportError("no feathers"), value="forest:Owl"))
    assert ANIMAL.validate_python("cat") == Cat()
    assert "owl" not in kinds(AnimalSpec)
    with pytest.raises(ValueError, match=r"'owl' comes from the package 'forest:Owl'.*no feathers"):
        find(AnimalSpec, "owl")


def test_an_entry_point_must_be_a_spec(installed):
    installed(Point("owl", dict))
    with pytest.raises(ValueError, match="not a Spec class"):
        find(AnimalSpec, "owl")


def test_two_packages_may_not_claim_one_kind(installed):
    installed(Point("dog", Owl))
    with pytest.raises(ValueError, match=r"'dog' is claimed by .*Dog and by .*Owl.*uninstall"):
        find(AnimalSpec, "dog")


def test_a_class_that_is_registered_and_an_entry_point_is_one(installed):
    installed(Point("dog", Dog))
    assert find(AnimalSpec, "dog") is Dog


def test_walk_finds_every_spec_with_its_path():
    cat = Cat(food="fish", kittens=("dog", Cat(lives=1)))
    assert [(path, spec.kind) for path, spec in walk(cat)] == [
        ("", "cat"),
        ("food", "fish"),
        ("kittens.0", "dog"),
        ("kittens.1", "cat"),
    ]


def test_numbers_must_be_finite():
    @register
    class Weight(FoodSpec):
        kind: Literal["weight"] = "weight"
        grams: float

    with pytest.raises(ValidationError, match="finite"):
        Weight(grams=float("nan"))


def test_the_json_schema_names_every_kind(installed):
    installed(Point("owl", Owl))
    schema = json_schema(AnimalSpec)
    assert schema["$ref"] == "#/$defs/AnimalSpec"
    assert {"AnimalSpec", "Cat", "Dog", "Owl", "FoodSpec", "Fish"} <= schema["$defs"].keys()
    assert schema["$defs"]["Dog"]["required"] == ["kind"]
