"""The spec: its identity through JSON, and what it refuses."""

import pytest
from pydantic import ValidationError

from sma.transformers.sparsification import SparsifySpec

ATTENTION = {"part": "attention", "pattern": "a.*", "query": "q", "output": "o", "keys": ["q"]}


def test_json_gives_the_spec_back():
    spec = SparsifySpec.model_validate(
        {
            "parts": ["attention"],
            "router": "latent_configurator",
            "rate": 0.3,
            "named": [ATTENTION],
        }
    )
    assert SparsifySpec.model_validate_json(spec.model_dump_json()) == spec


def test_one_name_stands_for_a_tuple():
    given = SparsifySpec(parts="attention", only="layers.1.*")
    assert given == SparsifySpec(parts=("attention",), only=("layers.1.*",))
    assert given.model_dump(mode="json")["only"] == ["layers.1.*"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"parts": []}, "parts"),
        ({"parts": ["mlp"]}, "parts"),
        ({"parts": ["layer", "attention"]}, "name layer alone, or the two parts"),
        ({"parts": ["layer"], "named": [{"part": "feed_forward", "pattern": "a"}]}, "no layer"),
        (
            {"named": [{"part": "feed_forward", "pattern": "a"}, ATTENTION]},
            "parts is feed_forward, but named has feed_forward, attention; name parts of each kind",
        ),
        ({"rate": 0}, "rate"),
        ({"rate": 1.5}, "rate"),
        ({"skipped": "dropped"}, "skipped"),
        ({"router": "sigmoidal"}, "unknown kind 'sigmoidal'"),
        ({"named": [{"part": "attention", "pattern": "a.*"}]}, "set query, output and keys"),
    ],
)
def test_errors(values, message):
    with pytest.raises(ValidationError, match=message):
        SparsifySpec.model_validate(values)
