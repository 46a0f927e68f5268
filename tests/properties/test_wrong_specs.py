"""Specs that were changed at random build or raise an error that names the place, quickly, without memory."""

import copy
import re
import time

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from sma.architectures import (
    graph_network,
    mixture_of_depths,
    moe_seqboat,
    parse_spec,
    seqboat,
    sma_all,
    switch,
)
from sma.architectures.files.yaml import load_spec

SIZES = {"d_model": 8, "n_layers": 2, "vocab_size": 11}
PRESETS = (seqboat, sma_all, switch, mixture_of_depths, moe_seqboat)  # the last two repeat a stack
VALID = [
    *(preset(**SIZES).model_dump(mode="json") for preset in PRESETS),
    graph_network(d_model=8, n_layers=2, d_input=3, n_classes=5).model_dump(mode="json"),
]
WHOLE = re.compile(  # what a mistake is called that has no single place: the field, the part, or the sum
    r"unknown field '|format_version=|(blocks|embedding|norm|head)[. :]|the model has .+, more than"
    r"|there are more mistakes"
)
NUMBERS = st.sampled_from([0, -1, 1, 3, 7, 64, 10**4, 2**31, 10**9, 10**18, 10**30, 0.5, -0.1, 1e300, 5e-324])
OTHERS = st.sampled_from(
    [None, True, "", "gau", "softmax", "no such kind", [], {}, [1], {"kind": "gau"}, float("nan")]
)


def places(values, path=()):
    """Every path in nested values."""
    items = (
        values.items() if isinstance(values, dict) else enumerate(values) if isinstance(values, list) else ()
    )
    for key, value in items:
        yield (*path, key)
        yield from places(value, (*path, key))


@st.composite
def mutated(draw):
    values = copy.deepcopy(draw(st.sampled_from(VALID)))
    for _ in range(draw(st.integers(1, 3))):
        *parents, last = draw(st.sampled_from(list(places(values))))
        node = values
        for key in parents:
            node = node[key]
        action = draw(st.sampled_from(["number", "other", "delete", "add", "swap", "repeat"]))
        if action == "delete":
            del node[last]
        elif action == "repeat" and isinstance(node, list):
            node[last:last] = [copy.deepcopy(node[last])] * draw(st.sampled_from([1, 40]))
        elif action == "add" and isinstance(node, dict):
            node[draw(st.sampled_from(["windw", "kind ", "d_modle", "0"]))] = 1
        elif action == "swap":
            source = values
            for key in draw(st.sampled_from(list(places(values)))):
                source = source[key]
            node[last] = copy.deepcopy(source)
        else:
            node[last] = copy.deepcopy(draw(NUMBERS if action == "number" else OTHERS))  # it may be changed
    return values


@settings(max_examples=150, deadline=None)
@given(mutated())
def test_a_changed_spec_builds_or_is_refused(values):
    start = time.process_time()  # others may use the machine
    spec, mistakes = None, []
    try:
        spec = parse_spec(values)
    except ValidationError as error:
        mistakes = error.errors()
    assert time.process_time() - start < 1
    assert (spec is None) == bool(mistakes)
    for mistake in mistakes:
        assert mistake["loc"] or WHOLE.match(mistake["msg"]), mistake["msg"]
    if spec is not None and spec.d_model <= 64:
        with torch.device("meta"):
            spec.build()


def put(values, path, value):
    values = copy.deepcopy(values)
    *parents, last = path.split(".")
    node = values
    for key in parents:
        node = node[int(key) if key.isdigit() else key]
    node[int(last) if last.isdigit() else last] = value
    return values


GAU = "blocks.0.branches.1.modules.0"


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("d_model", 10**6, "parameters, more than 1e+12"),
        ("embedding.vocab_size", 2**24, None),
        ("embedding.vocab_size", 2**25, "less than or equal to"),
        ("blocks.0.repeat", 10**5, "blocks, more than 4096"),
        (
            "blocks.0.branches.1.router",
            {"kind": "top_k", "top_k": 2},
            "blocks.0.branches.1.router: top_k must be between 1 and",
        ),
        (
            "blocks.0.branches.1.modules.0",
            {"kind": "multi_head_attention", "n_heads": 3},
            "blocks.0.branches.1.modules.0: ",
        ),
        ("embedding", {"kind": "features", "d_input": 3}, "head: head language_model predicts tokens"),
    ],
)
def test_parts_that_do_not_fit_are_named(path, value, message):
    values = put(VALID[0], path, value)
    if message is None:
        parse_spec(values)
        return
    with pytest.raises(ValidationError) as caught:
        parse_spec(values)
    assert message in str(caught.value)


def test_deep_nesting_is_refused(tmp_path):
    module = {"kind": "gau"}
    for _ in range(200):
        module = {"kind": "layer", "layer": {"kind": "sma", "router": "sigmoid", "modules": [module]}}
    values = put(VALID[0], "blocks.0.branches.1.modules.0", module)
    with pytest.raises(ValidationError, match="nested more than 32 deep"):
        parse_spec(values)
    path = tmp_path / "deep.yaml"
    path.write_text("[" * 5000)
    with pytest.raises(ValueError, match="deep"):
        load_spec(path)
