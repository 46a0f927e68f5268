import inspect

import pytest
from pydantic import ValidationError

import sma.architectures
from sma.architectures import graph_network, mixture_of_depths, parse_spec, seqboat
from sma.architectures.presets.by_name import expand_preset, model_presets, preset_options
from sma.architectures.specs.attention import GAUSpec

SIZES = {"d_model": 8, "n_layers": 2, "vocab_size": 11}


def test_every_function_that_makes_a_model_of_options_is_a_preset():
    made = {}
    for name, function in inspect.getmembers(
        sma.architectures, lambda x: inspect.isfunction(x) or isinstance(x, sma.architectures.Preset)
    ):
        kinds = {parameter.kind for parameter in inspect.signature(function).parameters.values()}
        only_options = kinds <= {inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.VAR_KEYWORD}
        if not only_options:
            continue
        result = inspect.signature(function, eval_str=True).return_annotation
        if inspect.isclass(result) and issubclass(result, sma.architectures.ModelSpec):
            made[name] = function
    assert made == model_presets()


def test_presets_are_found_with_their_options():
    assert {"d_model", "n_layers", "vocab_size", "window", "d_qk", "dropout"} <= set(
        preset_options("seqboat")
    )
    with pytest.raises(ValueError, match="there is no preset"):
        preset_options("seqbot")


def test_a_preset_stands_for_its_spec():
    assert expand_preset({"preset": "seqboat", **SIZES}) == seqboat(**SIZES)
    assert expand_preset({"kind": "sequence_model"}) == {"kind": "sequence_model"}
    graph = {"d_model": 8, "n_layers": 1, "d_input": 3, "n_classes": 2}
    given = expand_preset({"preset": "graph_network", **graph, "router": "sigmoid", "convolution": "gau"})
    assert given == graph_network(**graph, router={"kind": "sigmoid"}, convolution=GAUSpec())
    other = expand_preset({"preset": "seqboat", **SIZES, "norm": {"kind": "scale_norm"}})
    assert other.blocks[0].norm.kind == "scale_norm"


@pytest.mark.parametrize(
    ("values", "place", "message"),
    [
        ({"n_layers": 1.5}, "n_layers", "valid integer"),
        ({"n_layers": -2}, "n_layers", "greater than or equal to 1"),
        ({"n_layers": 10**9}, "n_layers", "less than or equal to 4096"),
        ({"d_model": "abc"}, "d_model", "whole number"),
        ({"d_model": True}, "d_model", "whole number"),
        ({"d_model": None}, "d_model", "valid integer"),
        ({"window": []}, "window", "valid integer; null"),
        ({"dropout": True}, "dropout", "must be a number"),
        ({"dropout": float("nan")}, "dropout", "finite number"),
        ({"attention": "softmx"}, "attention", "'softmax'"),
        ({"norm": "nope"}, "norm", "unknown kind 'nope' of NormSpec"),
        ({"norm": 3}, "norm", "needs a `kind`"),
        ({"dropout": 1.5}, "dropout", "less than 1"),
        ({"vocab_size": None}, "", "preset seqboat: "),
    ],
)
def test_a_wrong_option_is_named(values, place, message):
    with pytest.raises(ValidationError) as error:
        parse_spec({"preset": "seqboat", **SIZES, **values})
    (mistake,) = error.value.errors()
    assert ".".join(map(str, mistake["loc"])) == place
    assert message in mistake["msg"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"preset": ["seqboat"]}, r"there is no preset \['seqboat'\]"),
        ({"preset": {"seqboat": 1}}, "there is no preset"),
        ({"preset": None}, "there is no preset None"),
        ({"preset": "seqboat", 3: 4}, "has no option 3"),
        ({"preset": "seqboat", "kind": "sequence_model"}, "leave out `kind`"),
        ({"preset": "seqboat", "d_model": 3}, "needs n_layers; set them"),
    ],
)
def test_what_is_no_preset_or_option_is_named(values, message):
    with pytest.raises(ValueError, match=message):
        parse_spec(values)


def test_what_a_preset_refuses_is_said_of_it():
    with pytest.raises(ValueError, match="n_layers must be even"):
        mixture_of_depths(**{**SIZES, "n_layers": 3})
    with pytest.raises(ValidationError, match=r"preset mixture_of_depths: .*n_layers must be even, got 3"):
        parse_spec({"preset": "mixture_of_depths", **SIZES, "n_layers": 3})
