import json

import pytest
from transformers import AutoConfig

from sma.architectures import graph_network, seqboat
from sma.transformers import SMAConfig

SMALL = {"d_model": 16, "n_layers": 2, "window": 4, "d_qk": 4, "d_state": 2}


def test_a_configuration_is_the_same_after_a_file(spec, tmp_path):
    config = SMAConfig(spec=spec, eos_token_id=0, id2label={0: "no", 1: "yes"})
    config.save_pretrained(tmp_path)
    for loaded in (SMAConfig.from_pretrained(tmp_path), AutoConfig.from_pretrained(tmp_path)):
        assert type(loaded) is SMAConfig
        assert (loaded.spec, loaded.model_spec) == (config.spec, config.model_spec)
        assert (loaded.id2label, loaded.label2id, loaded.eos_token_id) == (
            {0: "no", 1: "yes"},
            {"no": 0, "yes": 1},
            0,
        )
        assert loaded.to_dict() == config.to_dict() | {"_name_or_path": loaded.name_or_path}
    assert json.loads((tmp_path / "config.json").read_text())["spec"]["kind"] == "sequence_model"


@pytest.mark.parametrize("form", ["spec", "values", "preset"])
def test_a_spec_may_be_given_in_every_form(form):
    spec = seqboat(vocab_size=9, **SMALL)
    given = {
        "spec": spec,
        "values": spec.model_dump(),
        "preset": {"preset": "seqboat", "vocab_size": 9, **SMALL},
    }[form]
    assert SMAConfig(spec=given).model_spec == spec


def test_sizes_are_those_of_the_spec():
    spec = seqboat(vocab_size=9, **SMALL)
    values = spec.model_dump(mode="json")
    values["blocks"] = [{"kind": "stack", "repeat": 2, "blocks": [*values["blocks"], *values["blocks"]]}]
    config = SMAConfig(spec=values)
    assert (config.vocab_size, config.hidden_size, config.num_hidden_layers) == (9, 16, 2)
    with pytest.raises(ValueError, match=r"vocab_size=7 is read from the spec; set embedding.vocab_size"):
        config.vocab_size = 7
    config.spec["embedding"]["vocab_size"] = 7
    assert config.vocab_size == 7
    numbers = {"kind": "scalars"}
    head = {"kind": "classifier", "n_classes": 3}
    assert (
        SMAConfig(spec=spec.model_dump(mode="json") | {"embedding": numbers, "head": head}).vocab_size is None
    )


def test_another_head_keeps_the_rest(config):
    other = config.with_head(kind="node_classifier", n_classes=5)
    assert other.num_labels == len(other.id2label) == 5
    assert other.spec | {"head": None} == config.spec | {"head": None}
    assert other.eos_token_id == config.eos_token_id == 0


def kind(name):
    spec = seqboat(vocab_size=9, **SMALL).model_dump(mode="json")
    spec["blocks"][0]["mixer"] = {"kind": name}
    return spec


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "spec is missing; give SMAConfig a spec"),
        (
            {"spec": seqboat(vocab_size=9, d_model=16, n_layers=1), "vocab_size": 8},
            "vocab_size=8 is read from the",
        ),
        ({"spec": 3}, "spec: a spec is a mapping with a `kind`, got int"),
        ({"spec": {"kind": "sequence_modle"}}, "sequence_modle.*did you mean sequence_model"),
        ({"spec": kind("emma")}, "blocks.0.mixer.*'emma'.*did you mean"),
        (
            {"spec": kind("lookup"), "plug_ins": {"lookup": "my_package"}},
            "'lookup'.*is from 'my_package': install that, or import it first",
        ),
        ({"spec": graph_network(d_model=8, n_layers=1, d_input=2, n_classes=2)}, "is not a sequence_model"),
        (
            {"spec": seqboat(vocab_size=9, n_classes=3, **SMALL), "num_labels": 2},
            "num_labels gives 2 labels.*n_cla",
        ),
        (
            {"spec": seqboat(vocab_size=9, n_classes=3, **SMALL), "id2label": {0: "a"}},
            "id2label gives 1 labels.*n_classes=3; set one to the other",
        ),
        (
            {"spec": {"preset": "seqboat", "vocab_size": 9, "bidirectional": True, **SMALL}},
            "a language model predicts each element from those before it.*looks? ahead",
        ),
    ],
)
def test_what_is_wrong_is_said_in_one_line(fields, message):
    with pytest.raises(ValueError, match=message) as error:
        SMAConfig(**fields)
    assert "\n" not in str(error.value)


def test_kinds_of_other_packages_are_named(plug_in_spec):
    config = SMAConfig(spec=plug_in_spec)
    assert config.plug_ins == {"doubled": "kinds_of_a_test"}
    assert SMAConfig.from_dict(config.to_dict()).model_spec == config.model_spec
