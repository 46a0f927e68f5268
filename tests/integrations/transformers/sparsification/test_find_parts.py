"""Which parts are found, and what is refused about parts that are named."""

import pytest
import torch

from sma.transformers.sparsification import routed_parts, sparsify

from .conftest import tiny
from .test_wrap import refused

BOTH = ("feed_forward", "attention")


def named(*patterns):
    return {"named": [{"part": "feed_forward", "pattern": pattern} for pattern in patterns]}


@pytest.mark.parametrize(
    ("only", "found"),
    [
        (
            ("encoder.layer.1.*",),
            ["bert.encoder.layer.1.attention", "bert.encoder.layer.1.intermediate"],
        ),
        (
            ("encoder.layer.0.attention", "*.intermediate"),
            [
                "bert.encoder.layer.0.attention",
                "bert.encoder.layer.0.intermediate",
                "bert.encoder.layer.1.intermediate",
            ],
        ),
    ],
)
def test_patterns_match_the_names_that_recordings_show(only, found):
    assert list(routed_parts(sparsify(tiny("bert"), parts=BOTH, only=only))) == found


@pytest.mark.parametrize("parts", [("feed_forward",), ("attention",), ("layer",)])
@pytest.mark.parametrize("family", ["qwen2_moe", "mixtral"])
def test_the_feed_forward_of_experts_is_the_block_that_holds_them(family, parts, batch):
    dense = tiny(family)
    with torch.no_grad():
        wanted = dense(**batch).logits
        model = sparsify(dense, parts=parts)
        found = model(**batch).logits
    real = batch["attention_mask"].bool()
    torch.testing.assert_close(found[real], wanted[real], atol=1e-6, rtol=0)
    name = {"feed_forward": "model.layers.0.mlp", "attention": "model.layers.0.self_attn"}
    assert next(iter(routed_parts(model))) == name.get(parts[0], "model.layers.0")


@pytest.mark.parametrize(
    ("family", "fields", "message"),
    [
        (
            "bert",
            {"parts": BOTH, "only": ("encoder.layer.*.attention",)},
            r"matches no feed_forward; leave feed_forward out of parts, or add .*: encoder\.layer\.0\.inter",
        ),
        (
            "llama",
            {"only": ("layers.0.*", "layers.7.*")},
            r"only='layers\.7\.\*' matches no feed_",
        ),
        ("llama", named("layers.*.mlp*"), r"layers\.0\.mlp\.\S+ \(feed_forward\) is inside layers\.0\.mlp "),
        ("llama", named("*"), r"is inside layers"),
        ("llama", named("layers.*.mlp", "layers.0.*p"), r"layers\.0\.mlp is named twice"),
    ],
)
def test_what_is_refused(family, fields, message):
    refused(tiny(family), fields, message)
