"""PEFT's adapters and torch's dynamic quantisation on models for transformers."""

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from transformers import Trainer, TrainingArguments

import sma
from sma.architectures.presets.by_name import model_presets, starting_sizes
from sma.transformers import SMAForCausalLM, SMAForSequenceClassification, as_transformers

PRESETS = ["seqboat", "mega_chunk", "mixtral_like", "mixture_of_depths", "sma_all", "ssm_only", "transformer"]


def build(preset):
    sizes = starting_sizes(preset)
    torch.manual_seed(0)
    spec = model_presets()[preset](**{**sizes, "vocab_size": 40, "d_model": 16, "n_layers": 2})
    return as_transformers(spec.build().eval())


def adapted(model, **options):
    settings = {"r": 2, "target_modules": "all-linear", "init_lora_weights": False, "task_type": "CAUSAL_LM"}
    return get_peft_model(model, LoraConfig(**settings | options))


@pytest.fixture
def words():
    return torch.randint(40, (2, 7), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("preset", PRESETS)
def test_every_linear_layer_has_an_adapter_with_a_gradient(preset, words):
    """Routers included: something is active in every layer."""
    model = build(preset)
    linear = {name for name, part in model.named_modules() if type(part) is nn.Linear}
    peft = adapted(model)
    with sma.record() as recording:
        peft(words)
    assert all(max(rates) > 0 for rates in recording.activation_rates.values())
    peft.train()(input_ids=words, labels=words).loss.backward()
    down = {name for name, _ in model.named_parameters() if ".lora_A." in name}
    assert {name.partition(".lora_A.")[0] for name in down} == linear
    dead = [
        name
        for name, p in model.named_parameters()
        if "lora_" in name and (p.grad is None or not p.grad.any())
    ]
    assert not dead
    assert all(p.grad is None for name, p in model.named_parameters() if "lora_" not in name)


@pytest.mark.parametrize("preset", ["seqboat", "mixtral_like"])
def test_merging_changes_nothing(preset, words):
    plain = build(preset)
    peft = adapted(build(preset)).eval()
    scores = peft(words).logits
    assert not torch.allclose(scores, plain(words).logits)
    text = peft.generate(input_ids=words, max_new_tokens=4, do_sample=False)
    merged = peft.merge_and_unload()
    assert type(merged) is SMAForCausalLM
    assert not any("lora" in name for name, _ in merged.named_parameters())
    torch.testing.assert_close(merged(words).logits, scores, rtol=1e-4, atol=1e-5)
    assert torch.equal(merged.generate(words, max_new_tokens=4, do_sample=False), text)


def test_a_merged_model_is_saved_as_any_other(words, tmp_path):
    merged = adapted(build("seqboat")).merge_and_unload()
    merged.save_pretrained(tmp_path)
    assert torch.equal(SMAForCausalLM.from_pretrained(tmp_path)(words).logits, merged(words).logits)


def test_adapters_are_saved_alone_and_loaded_onto_the_model(words, tmp_path):
    peft = adapted(build("seqboat")).eval()
    peft.save_pretrained(tmp_path)
    again = PeftModel.from_pretrained(build("seqboat"), tmp_path).eval()
    assert torch.equal(again(words).logits, peft(words).logits)


def test_a_new_head_is_trained_beside_adapters(words):
    config = build("seqboat").config.with_head(kind="classifier", n_classes=3)
    model = SMAForSequenceClassification(config)
    peft = adapted(model, task_type="SEQ_CLS", modules_to_save=["head"])
    peft(input_ids=words, labels=torch.tensor([0, 2])).loss.backward()
    trained = {name for name, parameter in peft.named_parameters() if parameter.grad is not None}
    assert any(".head.modules_to_save." in name for name in trained)
    assert any(".lora_A." in name for name in trained)


def test_adapters_train_under_the_trainer_with_checkpointing(words, tmp_path):
    model = build("seqboat")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    peft = adapted(model)
    arguments = TrainingArguments(
        output_dir=str(tmp_path),
        max_steps=2,
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
        save_strategy="no",
        activation_checkpointing=True,
    )
    rows = [{"input_ids": row, "labels": row} for row in words]
    first = {name: p.clone() for name, p in peft.named_parameters() if "lora_" in name}
    Trainer(peft, arguments, train_dataset=rows).train()
    assert all(not torch.equal(p, first[name]) for name, p in peft.named_parameters() if "lora_" in name)
    kept = {name.replace(".base_layer", ""): tensor for name, tensor in model.state_dict().items()}
    assert all(torch.equal(kept[name], tensor) for name, tensor in before.items())


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_quantised_models_generate(words, tmp_path):
    """By torch's dynamic quantisation; such a model is not saved, with a line that says so."""
    model = build("seqboat")
    exact = model(words).logits
    small = torch.ao.quantization.quantize_dynamic(model, {nn.Linear}, dtype=torch.qint8)
    assert (small(words).logits - exact).abs().mean() < 0.1 * exact.abs().mean()
    with_cache = small.generate(words, max_new_tokens=4, do_sample=False)
    assert torch.equal(with_cache, small.generate(words, max_new_tokens=4, do_sample=False, use_cache=False))
    with pytest.raises(ValueError, match=r"save the model before it is quantised") as error:
        small.save_pretrained(tmp_path)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "config.json").exists()
