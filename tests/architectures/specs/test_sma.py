import pytest
from pydantic import TypeAdapter, ValidationError

from sma import OneOf
from sma.architectures.blocks.residual import ResidualSpec
from sma.architectures.specs.attention import GAUSpec
from sma.architectures.specs.families import LayerSpec
from sma.architectures.specs.sma import DenseSpec, SMASpec
from sma.spec.schema import json_schema

GAU = {"kind": "gau", "d_qk": 4, "window": 3}
LIFTED = DenseSpec(module=GAUSpec(d_qk=4, window=3))
layer = TypeAdapter(OneOf[LayerSpec])


@pytest.mark.parametrize("given", [GAU, GAUSpec(d_qk=4, window=3), {"kind": "dense", "module": GAU}, LIFTED])
def test_a_sub_module_where_a_layer_is_wanted_is_dense(given):
    assert layer.validate_python(given) == LIFTED
    block = ResidualSpec.model_validate({"mixer": given, "branches": [given, "linear"]})
    assert (block.mixer, block.branches[0]) == (LIFTED, LIFTED)
    assert ResidualSpec.model_validate_json(block.model_dump_json()) == block


def test_the_schema_takes_sub_modules_for_layers():
    schema = json_schema(LayerSpec)["$defs"]["LayerSpec"]["anyOf"]
    assert {"$ref": "#/$defs/SubModuleSpec"} in schema


def test_mistakes_in_a_lifted_sub_module_are_told_at_its_place():
    with pytest.raises(ValidationError, match=r"(?m)^branches\.0\.window\n  .*greater than or equal to 1"):
        ResidualSpec.model_validate({"branches": [{**GAU, "window": 0}]})
    with pytest.raises(
        ValidationError, match=r"(?m)^mixer\n  unknown kind 'gua' of LayerSpec .*did you mean gau"
    ):
        ResidualSpec.model_validate({"mixer": "gua", "branches": ["linear"]})
    with pytest.raises(ValidationError, match=r"needs a `kind`, one of: .*dense.* gau"):
        ResidualSpec.model_validate({"branches": [{}]})


def test_a_layer_is_not_lifted_to_a_sub_module():
    with pytest.raises(ValidationError, match="unknown kind 'ema' of SubModuleSpec"):
        SMASpec.model_validate({"router": "sigmoid", "modules": ["ema"]})
    with pytest.raises(ValidationError, match="modules"):
        SMASpec.model_validate({"router": "sigmoid", "modules": [LIFTED]})
