from typing import Literal

import pytest
from pydantic import BaseModel

import sma.spec.registry
from sma import OneOf, Spec, register
from sma.spec.schema import json_schema


class PlantSpec(Spec):
    """A family."""


class SoilSpec(Spec):
    """Another."""


class Leaf(BaseModel):
    length: int = 1


@register
class Tree(PlantSpec):
    kind: Literal["tree"] = "tree"
    height: int
    leaf: Leaf = Leaf()
    soil: OneOf[SoilSpec] | None = None


@register
class Sand(SoilSpec):
    kind: Literal["sand"] = "sand"


@pytest.fixture(autouse=True)
def _known_here_only():
    before = dict(sma.spec.registry._registered)
    yield
    sma.spec.registry._registered.clear()
    sma.spec.registry._registered.update(before)


def test_every_kind_and_family_is_defined():
    schema = json_schema(PlantSpec)
    definitions = schema["$defs"]
    assert schema["$ref"] == "#/$defs/PlantSpec"
    assert definitions.keys() == {"PlantSpec", "Tree", "Tree.Leaf", "SoilSpec", "Sand"}
    assert definitions["Tree"]["required"] == ["kind", "height"]
    assert definitions["PlantSpec"]["anyOf"][0] == {"$ref": "#/$defs/Tree"}
    assert {"$ref": "#/$defs/SoilSpec"} in definitions["Tree"]["properties"]["soil"]["anyOf"]


def same_names():
    """Kinds that a package may define without knowing the names above."""

    class Leaf(BaseModel):
        width: int = 1

    class SoilSpec(Spec):
        """A family."""

    @register
    class Tree(PlantSpec):
        kind: Literal["bonsai"] = "bonsai"
        leaf: Leaf = Leaf()
        soil: OneOf[SoilSpec] | None = None

    @register
    class Sand(SoilSpec):
        kind: Literal["sand"] = "sand"

    return Tree


def test_classes_of_one_name_are_all_defined():
    other = f"{__name__}.{same_names().__qualname__}"
    definitions = json_schema(PlantSpec)["$defs"]
    first, second = (definitions[name]["properties"] for name in ("Tree", other))
    assert (first["kind"]["const"], second["kind"]["const"]) == ("tree", "bonsai")
    assert definitions["PlantSpec"]["anyOf"][1] == {"$ref": f"#/$defs/{other}"}
    leaves = [definitions[name]["properties"] for name in ("Tree.Leaf", f"{other}.Leaf")]
    assert [list(leaf) for leaf in leaves] == [["length"], ["width"]]
    soils = [fields["soil"]["anyOf"][0]["$ref"].removeprefix("#/$defs/") for fields in (first, second)]
    assert soils[0] != soils[1]
    assert definitions[soils[0]]["anyOf"][0] != definitions[soils[1]]["anyOf"][0]
