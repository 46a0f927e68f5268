"""Fields of a sparsification by their names."""

import pytest

from sma.modules import RandomRouter
from sma.training.sparsification.distillation import Distillation
from sma.training.sparsification.sparsify_settings import sparsify_settings
from sma.transformers import SparsifySpec


def test_without_changes_all_is_the_default():
    assert sparsify_settings([]) == (SparsifySpec(), Distillation())


def test_fields_of_both_are_set():
    changes = {
        ("parts",): ["feed_forward", "attention"],
        ("only",): ["layers.[4-9].*"],
        ("router", "kind"): "random",
        ("router", "rate"): 0.3,
        ("named",): [
            {"part": "feed_forward", "pattern": "h.*.mlp"},
            {"part": "attention", "pattern": "h.*.attn", "query": "q", "output": "o", "keys": ["k"]},
        ],
        ("lora_rank",): 4,
        ("task",): 1,
    }
    spec, settings = sparsify_settings(list(changes.items()))
    assert spec.parts == ("feed_forward", "attention")
    assert spec.only == ("layers.[4-9].*",)
    assert isinstance(spec.router.build(8, 1), RandomRouter)
    assert spec.router.rate == 0.3
    assert spec.named[0].pattern == "h.*.mlp"
    assert (settings.lora_rank, settings.task) == (4, 1.0)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("rates",), 0.3, r"there is no field rates; did you mean .*rate"),
        (("rate",), 2, "rate"),
        (("steps",), 0, "steps"),
        (("router", "speed"), 1, "speed"),
    ],
)
def test_errors(path, value, message):
    with pytest.raises(ValueError, match=message):
        sparsify_settings([(path, value)])
