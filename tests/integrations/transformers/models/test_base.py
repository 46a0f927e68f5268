import json

import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

import sma
from sma.architectures import load_model, save_model
from sma.spec import registry
from sma.transformers import CardFacts, SMAConfig, SMAForCausalLM, SMAForSequenceClassification
from sma.transformers.config import _read


def same(first, second):
    """Whether two models have the same tensors, dtypes included."""
    mine, theirs = first.state_dict(), second.state_dict()
    return mine.keys() == theirs.keys() and all(
        mine[name].dtype == theirs[name].dtype and torch.equal(mine[name], theirs[name]) for name in mine
    )


def test_a_folder_gives_the_model_back(causal, tokens, tmp_path):
    causal.save_pretrained(tmp_path)
    for cls in (SMAForCausalLM, AutoModelForCausalLM):
        loaded = cls.from_pretrained(tmp_path)
        assert type(loaded) is SMAForCausalLM
        assert not loaded.training
        assert same(loaded, causal)
        assert torch.equal(loaded(tokens).logits, causal(tokens).logits)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"config.json", "generation_config.json", "model.safetensors", "README.md", "sma_auto.py"}
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        assert len(list(file.keys())) == len(causal.state_dict())


@pytest.mark.parametrize("tied", [True, False])
def test_tied_weights_are_written_once_and_stay_tied(spec, tied, tmp_path):
    head = {"kind": "language_model", "tie_embedding": tied}
    model = SMAForCausalLM(SMAConfig(spec=spec.model_dump(mode="json") | {"head": head}))
    model.save_pretrained(tmp_path)
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        assert ("model.head.output.weight" in file.keys()) is not tied  # noqa: SIM118
    loaded = SMAForCausalLM.from_pretrained(tmp_path)
    assert same(loaded, model)
    assert (loaded.model.head.weight is loaded.model.embedding.weight) is tied
    assert (loaded.get_output_embeddings() is None) is tied


def test_dtypes_are_those_of_the_model(plain, tokens, tmp_path):
    """Recurrences stay in float32 whatever the rest is in, also where the file is in another dtype."""
    half = SMAForCausalLM.from_model(plain.to(torch.bfloat16))
    assert {parameter.dtype for parameter in half.parameters()} == {torch.bfloat16, torch.float32}
    half.save_pretrained(tmp_path / "half")
    loaded = SMAForCausalLM.from_pretrained(tmp_path / "half")
    assert same(loaded, half)
    assert loaded.dtype == torch.bfloat16
    whole = SMAForCausalLM.from_pretrained(tmp_path / "half", dtype=torch.float32)
    assert {parameter.dtype for parameter in whole.parameters()} == {torch.float32}
    whole.save_pretrained(tmp_path / "whole")
    assert same(SMAForCausalLM.from_pretrained(tmp_path / "whole", dtype="bfloat16"), half)
    built = AutoModelForCausalLM.from_config(half.config, dtype=torch.bfloat16)
    assert [p.dtype for p in built.parameters()] == [p.dtype for p in half.parameters()]


def test_shards_and_a_device_map(causal, tmp_path):
    causal.save_pretrained(tmp_path, max_shard_size="10KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    assert same(SMAForCausalLM.from_pretrained(tmp_path, device_map="cpu"), causal)


def test_kinds_of_other_packages_load_where_they_are_known(plug_in_spec, tokens, tmp_path):
    """With buffers that are not saved, which transformers would leave empty."""
    model = SMAForCausalLM(SMAConfig(spec=plug_in_spec)).eval()
    model.save_pretrained(tmp_path)
    assert torch.equal(SMAForCausalLM.from_pretrained(tmp_path)(tokens).logits, model(tokens).logits)
    known = {key: found for key, found in registry._registered.items() if key[1] == "doubled"}
    for key in known:
        del registry._registered[key]
    _read.cache_clear()
    with pytest.raises(
        ValueError, match=r"'doubled'.* is from 'kinds_of_a_test': install that, or import it"
    ) as error:
        AutoModelForCausalLM.from_pretrained(tmp_path)
    assert "\n" not in str(error.value)
    registry._registered.update(known)


def test_a_new_head_is_trained_from_its_initial_weights(causal, tokens, tmp_path):
    causal.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"scores next tokens.*with_head"):
        AutoModelForSequenceClassification.from_pretrained(tmp_path)
    config = causal.config.with_head(kind="classifier", n_classes=3)
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path, config=config)
    assert type(model) is SMAForSequenceClassification
    new = {name for name in model.state_dict() if name.startswith("model.head.")}
    assert new
    assert all(
        torch.equal(tensor, causal.state_dict()[name])
        for name, tensor in model.state_dict().items()
        if name not in new
    )
    assert model.model.head.output.weight.std() > 0
    assert model(tokens).logits.isfinite().all()


def test_a_plain_file_of_weights_loads_as_well(plain, causal, tmp_path):
    """Names without the prefix of the class, as `save_model` writes them."""
    causal.config.save_pretrained(tmp_path)
    save_model(plain, tmp_path)
    loaded = SMAForCausalLM.from_pretrained(tmp_path)
    assert same(loaded.model, load_model(tmp_path))


def changed(folder, **sizes):
    path = folder / "config.json"
    values = json.loads(path.read_text())
    for name, value in sizes.items():
        values["spec"][name] = value
    path.write_text(json.dumps(values))


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        (
            {"d_model": 8},
            r"holds the weights of another spec: model\.\S+ is \(.*16.*\) in the file and \(.*8",
        ),
        ({"norm": None}, r"another spec: model\.norm\.\S+ is too much"),
        (
            {"embedding": {"kind": "tokens", "vocab_size": 256, "norm": {"kind": "layer_norm"}}},
            "norm.* is missing",
        ),
    ],
)
def test_weights_of_another_spec_are_refused_in_one_line(causal, sizes, message, tmp_path):
    causal.save_pretrained(tmp_path)
    changed(tmp_path, **sizes)
    with pytest.raises(ValueError, match=message) as error:
        SMAForCausalLM.from_pretrained(tmp_path)
    assert "\n" not in str(error.value)


def test_other_sizes_load_where_they_are_asked_for(causal, tmp_path):
    causal.save_pretrained(tmp_path)
    changed(tmp_path, embedding={"kind": "tokens", "vocab_size": 300, "scale": True})
    loaded = SMAForCausalLM.from_pretrained(tmp_path, ignore_mismatched_sizes=True)
    assert loaded.model.embedding.weight.shape == (300, 16)
    assert loaded.model.embedding.weight.std() > 0.1
    assert torch.equal(loaded.model.norm.weight, causal.model.norm.weight)


def test_a_model_that_looks_at_one_element_in_its_state(causal, tokens):
    """What a table of embeddings is asked for, and what is a matter of the spec."""
    assert causal.get_input_embeddings() is causal.model.embedding
    assert causal.resize_token_embeddings(256) is causal.model.embedding
    with pytest.raises(ValueError, match=r"new_num_tokens=300, but the spec has embedding.vocab_size=256"):
        causal.resize_token_embeddings(300)
    with pytest.raises(ValueError, match=r"set config.spec"):
        causal.set_input_embeddings(torch.nn.Embedding(3, 3))


def gradients(model, tokens):
    model.zero_grad()
    loss = model(tokens, labels=tokens).loss
    loss.backward()
    return [loss, *(parameter.grad for parameter in model.parameters())]


def test_gradient_checkpointing_is_recomputation(causal, tokens, monkeypatch):
    causal.train()
    plainly = gradients(causal, tokens)
    causal.activation_checkpointing_enable()
    assert causal.is_activation_checkpointing
    assert causal.model.activation_checkpointing
    calls = []
    original = sma.architectures.blocks.stack.recompute
    monkeypatch.setattr(
        sma.architectures.blocks.stack, "recompute", lambda *call: calls.append(call) or original(*call)
    )
    recomputed = gradients(causal, tokens)
    assert len(calls) == 2
    assert all(map(torch.equal, plainly, recomputed))
    causal.activation_checkpointing_disable()
    assert not causal.model.activation_checkpointing


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"activation_checkpointing_kwargs": {"use_reentrant": True}}, "use_reentrant=True: .*leave it out"),
        ({"every_n_layers": 2}, "every_n_layers=2: .*sma.recompute"),
        ({"offload": True}, "offload=True: .*sma.recompute"),
    ],
)
def test_other_ways_of_checkpointing_are_refused(causal, options, message):
    with pytest.raises(ValueError, match=message):
        causal.activation_checkpointing_enable(**options)
    assert not causal.model.activation_checkpointing


def test_only_models_of_sequences_are_wrapped(spec):
    with pytest.raises(ValueError, match="model is of type Linear, not SequenceModel"):
        SMAForCausalLM.from_model(torch.nn.Linear(2, 2))


def test_a_card_is_written_once_and_replaced_by_facts(causal, tmp_path):
    (tmp_path / "README.md").write_text("by hand")
    causal.save_pretrained(tmp_path)
    assert (tmp_path / "README.md").read_text() == "by hand"
    causal.save_pretrained(tmp_path, card=CardFacts(title="books"))
    assert "Trained on books" in (tmp_path / "README.md").read_text()


@pytest.mark.slow
def test_compiled_training_has_the_same_loss(causal, tokens):
    causal.train()
    expected = gradients(causal, tokens)
    torch._dynamo.reset()
    compiled = torch.compile(causal, backend="eager")
    found = gradients(compiled, tokens)
    torch._dynamo.reset()
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs)
