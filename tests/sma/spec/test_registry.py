import warnings
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, Literal

import pytest
from pydantic import TypeAdapter, ValidationError

import sma.spec.registry
from sma import OneOf, Spec, register
from sma.spec.registry import find, kinds


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
        if isinstance(self.thing, BaseException):
            raise self.thing
        return self.thing


@pytest.fixture
def installed(monkeypatch):
    """Pretend that packages with these entry points are installed."""
    sma.spec.registry._warn.cache_clear()
    return lambda *points: monkeypatch.setattr(sma.spec.registry, "_entry_points", lambda: points)


def test_kinds_of_a_family():
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
    message = (
        r"unknown kind 'cta' of AnimalSpec \(is its package installed, or imported\?\); did you mean cat\?"
    )
    with pytest.raises(ValidationError, match=message):
        ANIMAL.validate_python("cta")


def test_a_missing_kind_names_those_that_exist():
    with pytest.raises(ValidationError, match="needs a `kind`, one of: cat, dog"):
        ANIMAL.validate_python({"lives": 3})


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


@pytest.mark.parametrize("error", [ImportError("no feathers"), SystemExit("no feathers")])
def test_a_package_that_fails_to_import_is_named(installed, error):
    installed(Point("owl", error, value="forest:Owl"))
    assert ANIMAL.validate_python("cat") == Cat()
    message = r"entry point 'owl' of the package 'forest:Owl' fails to import \(\w+: no feathers\)"
    with pytest.raises(ValueError, match="unknown kind 'owl' of AnimalSpec; the " + message):
        find(AnimalSpec, "owl")
    with pytest.warns(UserWarning, match=message):
        assert "owl" not in kinds(AnimalSpec)


def test_a_broken_package_blocks_no_kind_of_another(installed):
    installed(Point("dog", ImportError("no legs"), value="kennel:Dog"), Point("owl", 3), Point("owl", Owl))
    with pytest.warns(UserWarning, match="'dog' of the package 'kennel:Dog' fails"):
        assert find(AnimalSpec, "dog") is Dog
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert find(AnimalSpec, "dog") is Dog  # once is enough
    with pytest.warns(UserWarning, match="'owl' of the package 'somewhere:Thing' is 3, not a Spec"):
        assert find(AnimalSpec, "owl") is Owl


def wise():
    class Wise(AnimalSpec):
        pass

    return Wise


class DoerSpec(Spec):
    """A family whose kinds must do something."""

    @abstractmethod
    def act(self):
        """Do it."""


class Idle(DoerSpec):
    kind: Literal["owl"] = "owl"


class Alone(Spec):
    kind: Literal["owl"] = "owl"


@pytest.mark.parametrize(
    ("thing", "message"),
    [
        (dict, "'owl' of the package 'somewhere:Thing' is <class 'dict'>, not a Spec class"),
        (Alone, r"is .*Alone, which belongs to no family; derive it from one"),
        (AnimalSpec, r"is .*AnimalSpec, which belongs to no family"),
        (Dog, r"'owl' of the package 'somewhere:Thing' is .*Dog, whose kind is 'dog'; give both one name"),
        (wise(), r"is .*Wise, but .*Wise needs its own kind"),
        (Idle, r"is .*Idle, but Idle needs a method act, see DoerSpec"),
    ],
)
def test_an_entry_point_must_be_a_whole_kind(installed, thing, message):
    installed(Point("owl", thing))
    with pytest.raises(ValueError, match=message):
        find(AnimalSpec, "owl")


def test_a_kind_that_lacks_a_method_is_not_registered():
    with pytest.raises(ValueError, match="Idle needs a method act, see DoerSpec"):
        register(Idle)


class Hound(AnimalSpec):
    """Of another package, which took a name that exists."""

    kind: Literal["dog"] = "dog"


def test_two_packages_may_not_claim_one_kind(installed):
    installed(Point("dog", Hound))
    message = r"'dog' of AnimalSpec is claimed by .*Dog and by .*Hound of the package 'somewhere:.*uninstall"
    with pytest.raises(ValueError, match=message):
        find(AnimalSpec, "dog")
    with pytest.warns(UserWarning, match=message):
        assert kinds(AnimalSpec).keys() == {"cat"}


class DogFood(FoodSpec):
    kind: Literal["dog"] = "dog"


def test_a_prefix_lets_a_package_use_a_kind_in_two_families(installed):
    installed(Point("animal.owl", Owl), Point("food.dog", DogFood))
    assert find(AnimalSpec, "owl") is kinds(AnimalSpec)["owl"] is Owl
    assert find(FoodSpec, "dog") is kinds(FoodSpec)["dog"] is DogFood
    assert find(AnimalSpec, "dog") is Dog


def test_a_class_that_is_registered_and_an_entry_point_is_one(installed):
    installed(Point("dog", Dog))
    assert find(AnimalSpec, "dog") is Dog
