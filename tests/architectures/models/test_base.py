"""The check of a whole model sees what building it sees, and counts what it has."""

from pathlib import Path
from typing import Literal

import pytest
import torch
from torch import nn

import sma.spec.registry
from sma import OneOf, PerElement, register
from sma.architectures import load_spec, parse_spec
from sma.architectures.blocks.stack import Stack, StackSpec
from sma.architectures.models import base
from sma.architectures.models.embeddings import TokensSpec
from sma.architectures.models.heads import LanguageModelSpec
from sma.architectures.models.sequence import SequenceModelSpec
from sma.architectures.presets.by_name import model_presets, starting_sizes
from sma.architectures.specs.families import LayerSpec

EXAMPLES = Path(__file__).parents[3] / "examples"
MODELS = [path for path in EXAMPLES.glob("*.yaml") if "kind: training" not in path.read_text()]
FEED_FORWARD = {"kind": "feed_forward", "d_hidden": 3}
D = 8


@pytest.fixture(autouse=True)
def kinds(monkeypatch):
    """Layers that use the layer inside them in unusual ways."""
    monkeypatch.setattr(sma.spec.registry, "_registered", dict(sma.spec.registry._registered))

    class Wrapper(LayerSpec):
        inner: OneOf[LayerSpec]
        tag: int = 0

    @register
    class Normed(Wrapper):
        kind: Literal["normed"] = "normed"

        def build(self, d_model):
            module = self.inner.build(d_model)
            for layer in module.modules():
                if isinstance(layer, nn.Linear):
                    nn.utils.parametrizations.weight_norm(layer)
            return module

    @register
    class Many(Wrapper):
        kind: Literal["many"] = "many"

        def build(self, d_model):
            return Stack([self.inner.build(d_model) for _ in range(5)])

    @register
    class Narrow(Wrapper):
        kind: Literal["narrow"] = "narrow"

        def build(self, d_model):
            ends = PerElement(nn.Linear(d_model, 6)), PerElement(nn.Linear(6, d_model))
            return Stack([ends[0], self.inner.build(6), ends[1]])

    @register
    class Changed(Wrapper):
        kind: Literal["changed"] = "changed"

        def build(self, d_model):
            module = self.inner.module.model_copy(update={"d_hidden": 0})
            return self.inner.model_copy(update={"module": module}).build(d_model)

    @register
    class Six(LayerSpec):
        kind: Literal["six"] = "six"

        def build(self, d_model):
            if d_model != 6:
                raise ValueError(f"needs width 6, got {d_model}")
            return PerElement(nn.Linear(6, 6))


def model(*branches, **fields):
    return {
        "kind": "sequence_model",
        "d_model": D,
        "embedding": {"kind": "tokens", "vocab_size": 5},
        "blocks": [{"kind": "residual", "repeat": 3, "branches": list(branches)}],
        "head": "language_model",
        **fields,
    }


def whole(block):
    """A model of one block that was made in Python."""
    embedding, head = TokensSpec(vocab_size=5), LanguageModelSpec()
    return SequenceModelSpec(d_model=D, embedding=embedding, blocks=(block,), head=head)


def check_count(monkeypatch, read):
    with torch.device("meta"):
        n_parameters = sum(p.numel() for p in read().build().parameters())
    monkeypatch.setattr(base, "MAX_PARAMETERS", n_parameters)
    read()
    monkeypatch.setattr(base, "MAX_PARAMETERS", n_parameters - 1)
    with pytest.raises(ValueError, match="parameters, more than"):
        read()


@pytest.mark.parametrize("name", model_presets())
def test_counts_what_a_preset_has(monkeypatch, name):
    check_count(monkeypatch, lambda: model_presets()[name](**starting_sizes(name)))


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
def test_counts_what_an_example_has(monkeypatch, path):
    check_count(monkeypatch, lambda: load_spec(path))


def test_counts_a_layer_as_often_as_another_builds_it(monkeypatch):
    layers = [{"kind": "many", "inner": FEED_FORWARD, "tag": tag} for tag in range(2)]
    check_count(monkeypatch, lambda: parse_spec(model(FEED_FORWARD, *layers)))


def test_a_layer_may_change_what_it_holds():
    layers = [{"kind": "normed", "inner": FEED_FORWARD, "tag": tag} for tag in range(2)]
    built = parse_spec(model(FEED_FORWARD, *layers)).build()
    normed = [name for name, _ in built.named_parameters() if name.endswith("original1")]
    assert len(normed) == 3 * 2 * 2  # repeats, layers, linear maps


def test_a_layer_may_stand_inside_another_at_its_own_width(monkeypatch):
    check_count(monkeypatch, lambda: parse_spec(model({"kind": "narrow", "inner": "six"})))
    with pytest.raises(ValueError, match=r"blocks\.0\.branches\.0: needs width 6, got 8"):
        parse_spec(model("six"))
    with pytest.raises(ValueError, match=r"blocks\.0\.branches\.0\.inner: needs width 6, got 8"):
        parse_spec(model({"kind": "many", "inner": "six"}))


def test_a_copy_of_a_part_builds_itself():
    with pytest.raises(ValueError, match=r"blocks\.0\.branches\.0: .*d_hidden=0"):
        parse_spec(model({"kind": "changed", "inner": FEED_FORWARD}))


def test_what_cannot_be_read_back_is_not_built():
    blocks = [{"kind": "residual", "branches": ["linear"]}]
    stack = StackSpec.model_validate({"kind": "stack", "blocks": blocks})
    for _ in range(40):
        stack = StackSpec(blocks=(stack,))
    with pytest.raises(ValueError, match="nested more than 32 deep"):
        whole(stack)
    wide = StackSpec.model_validate({"kind": "stack", "blocks": blocks})
    for _ in range(29):
        wide = StackSpec(blocks=(wide, wide))
    with pytest.raises(ValueError, match="more than 10,000 parts"):
        whole(wide)
