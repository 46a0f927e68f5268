"""Specs as users write them: wrong ones name the place, right ones survive a round trip."""

import json
from typing import Literal

import pytest
import torch
from pydantic import ValidationError

import sma
from sma.architectures import SequenceModelSpec, dump_spec, load_spec, seqboat
from sma.architectures.specs.families import RouterSpec, SubModuleSpec
from sma.spec.base import walk
from sma.spec.registry import find, kinds
from sma.spec.schema import json_schema

YAML = """
kind: sequence_model
d_model: 16
embedding: {kind: tokens, vocab_size: 32}
blocks:
  - repeat: 2
    kind: residual
    norm: {kind: layer_norm}
    mixer: {kind: ema, d_state: 4, bidirectional: false}
    branches:
      - {kind: linear}
      - kind: sma
        router: {kind: latent_configurator, init_temperature_scale: 1e-1}
        modules:
          - {kind: gau, d_qk: 8, d_hidden: 32, window: 4, attention: softmax, position: {kind: rotary}}
    activation: silu
head: {kind: language_model, tie_embedding: true}
"""


@pytest.fixture
def values(tmp_path):
    path = tmp_path / "model.yaml"
    path.write_text(YAML)
    return load_spec(path).model_dump(mode="json")


def put(values, path, value):
    *parents, last = path.split(".")
    for key in parents:
        values = values[int(key) if key.isdigit() else key]
    values[last] = value


def test_yaml_builds_and_runs(values):
    model = SequenceModelSpec.model_validate(values).build()
    assert len(model.blocks) == 2
    assert model(torch.zeros(2, 5, dtype=torch.long)).shape == (2, 5, 32)


def test_round_trip_through_json_and_yaml(values, tmp_path):
    spec = SequenceModelSpec.model_validate(values)
    assert SequenceModelSpec.model_validate_json(spec.model_dump_json()) == spec
    path = tmp_path / "again.yaml"
    path.write_text(dump_spec(spec))
    assert load_spec(path) == spec


GAU = "blocks.0.branches.1.modules.0"


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (f"{GAU}.windw", 4, "did you mean window"),
        (f"{GAU}.window", 0, "greater than or equal to 1"),
        (f"{GAU}.window", -3, "greater than or equal to 1"),
        (f"{GAU}.attention", "relu", "'softmax', 'relu2' or 'laplace'"),
        (f"{GAU}.kind", "gua", "did you mean gau"),
        ("blocks.0.branches.1.router.kind", "gau", "unknown kind 'gau' of RouterSpec"),
        ("blocks.0.mixer", {}, "needs a `kind`, one of"),
        ("blocks.0.activation", "sillu", "did you mean silu"),
        ("d_model", "wide", "whole number"),
        ("d_model", 10**12, "less than or equal"),
        ("format_version", 2, "format_version"),
        ("blocks", [], "at least 1 item"),
    ],
)
def test_a_wrong_field_is_named(values, path, value, message):
    put(values, path, value)
    with pytest.raises(ValidationError) as caught:
        SequenceModelSpec.model_validate(values)
    text = str(caught.value)
    assert message in text
    place = ".".join(map(str, caught.value.errors()[0]["loc"]))
    assert path.startswith(place) or place.startswith(path)
    assert place.count(".") >= path.count(".") - 1  # no further from the field than its parent


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [("d_qk", 7, "d_qk=7 must be even"), ("window", None, "position rank has .*; set window")],
)
def test_values_that_do_not_fit_together_are_told_at_their_part(values, field, value, message):
    put(values, f"{GAU}.position", "rank" if field == "window" else "rotary")
    put(values, f"{GAU}.{field}", value)
    place = f"{GAU}.position".replace(".", r"\.")
    with pytest.raises(ValidationError, match=f"{place}: {message}"):
        SequenceModelSpec.model_validate(values)


def test_third_party_kinds_round_trip(values):
    @sma.register
    class HalfRouterSpec(RouterSpec):
        """Half of the elements, for the test."""

        kind: Literal["test_half"] = "test_half"
        phase: int = 0

        def build(self, d_model, n_modules):
            from sma.modules import RandomRouter

            return RandomRouter(n_modules, rate=0.5, seed=self.phase)

    put(values, "blocks.0.branches.1.router", {"kind": "test_half", "phase": 3})
    spec = SequenceModelSpec.model_validate(values)
    assert spec.model_dump()["blocks"][0]["branches"][1]["router"] == {"kind": "test_half", "phase": 3}
    assert SequenceModelSpec.model_validate_json(spec.model_dump_json()) == spec
    spec.build()(torch.zeros(1, 3, dtype=torch.long))


def test_schema_covers_every_family_and_kind():
    from sma.architectures.models.base import ModelSpec

    schema = json_schema(ModelSpec)
    definitions = schema["$defs"]
    for family in (RouterSpec, SubModuleSpec):
        for spec in kinds(family).values():
            assert spec.__name__ in definitions
    text = json.dumps(schema)
    for name in {part for part in text.split('"') if part.startswith("#/$defs/")}:
        assert name.removeprefix("#/$defs/") in definitions


def test_walk_gives_paths():
    paths = dict(walk(seqboat(vocab_size=8, d_model=8, n_layers=1)))
    assert paths["blocks.0.branches.1.modules.0"].kind == "gau"
    assert paths["blocks.0.branches.1.modules.0.position"].kind == "rotary"


def test_kinds_are_found_by_family():
    assert find(SubModuleSpec, "gau").__name__ == "GAUSpec"
    with pytest.raises(ValueError, match=r"there are: .*gau, "):
        find(SubModuleSpec, "nothing_like_it")
