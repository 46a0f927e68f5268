"""The spec: its identity through JSON, and what it refuses."""

import pytest
from pydantic import ValidationError

from sma.transformers.sparsification import SparsifySpec


def test_json_gives_the_spec_back():
    spec = SparsifySpec.model_validate(
        {
            "parts": ["attention"],
            "router": "latent_configurator",
            "rate": 0.3,
            "named": [{"part": "attention", "pattern": "a.*", "query": "q", "output": "o", "keys": ["q"]}],
        }
    )
    assert SparsifySpec.model_validate_json(spec.model_dump_json()) == spec


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"parts": []}, "parts"),
        ({"parts": ["mlp"]}, "parts"),
        ({"parts": ["layer", "attention"]}, "name layer alone, or the two parts"),
        ({"parts": ["layer"], "named": [{"part": "feed_forward", "pattern": "a"}]}, "no layer"),
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
