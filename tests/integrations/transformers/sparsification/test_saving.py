"""Sparsified models: the same at first, with and without a cache, saved, loaded, adapted and recomputed."""

import copy
import io
import json
import pickle

import peft
import pytest
import torch
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    LlamaForCausalLM,
    StaticCache,
    Trainer,
    TrainingArguments,
)
from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

import sma
from sma.modules import set_progress
from sma.transformers.sparsification import routed_parts, sparsify

from .conftest import CAUSAL, FAMILIES, scramble, tiny, tiny_llava

PARTS = (("feed_forward",), ("attention",), ("feed_forward", "attention"), ("layer",))
BOTH = ("feed_forward", "attention")


def real(values, batch):
    return values[batch["attention_mask"].bool()]


@pytest.mark.parametrize("family", FAMILIES)
def test_it_starts_as_the_same_model(family, batch):
    dense = tiny(family)
    with torch.no_grad():
        wanted = dense(**batch, output_hidden_states=True)
        for parts in PARTS:
            for skipped in ("seen", "unseen"):
                model = sparsify(copy.deepcopy(dense), parts=parts, skipped=skipped)
                found = model(**batch, output_hidden_states=True)
                torch.testing.assert_close(
                    real(found.logits, batch), real(wanted.logits, batch), atol=1e-6, rtol=0
                )
                for mine, theirs in zip(found.hidden_states, wanted.hidden_states, strict=True):
                    torch.testing.assert_close(real(mine, batch), real(theirs, batch), atol=1e-6, rtol=0)


@pytest.mark.parametrize("skipped", ["seen", "unseen"])
@pytest.mark.parametrize("parts", PARTS[2:])
@pytest.mark.parametrize("family", CAUSAL)
def test_a_cache_changes_nothing(family, parts, skipped, batch):
    model = scramble(sparsify(tiny(family), parts=parts, skipped=skipped), in_full=False)
    options = {
        "max_new_tokens": 5,
        "do_sample": False,
        "output_logits": True,
        "return_dict_in_generate": True,
    }
    with_cache = model.generate(**batch, **options)
    without = model.generate(**batch, **options, use_cache=False)
    assert torch.equal(with_cache.sequences, without.sequences)
    for mine, theirs in zip(with_cache.logits, without.logits, strict=True):
        torch.testing.assert_close(mine, theirs, atol=2e-6, rtol=0)


@pytest.mark.parametrize("skipped", ["seen", "unseen"])
@pytest.mark.parametrize("parts", PARTS)
@pytest.mark.parametrize("family", ["llama", "gpt_neox", "bert"])
def test_padding_never_enters(family, parts, skipped, batch):
    model = scramble(sparsify(tiny(family), parts=parts, skipped=skipped), in_full=False)
    other = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, 7)
    with torch.no_grad(), sma.record(model) as recording:
        first = model(**batch).logits
        second = model(other, attention_mask=batch["attention_mask"]).logits
        alone = model(batch["input_ids"][:1]).logits
    assert torch.equal(real(first, batch), real(second, batch))
    torch.testing.assert_close(first[:1], alone, atol=1e-6, rtol=0)
    calls = [call for call in recording.layers if len(call.mask) > 1]
    assert not any((call.routing.active[..., 0] & (batch["attention_mask"] == 0)).any() for call in calls)


@pytest.mark.parametrize("family", ["llama", "gemma2"])
@pytest.mark.parametrize("skipped", ["seen", "unseen"])
def test_padding_never_enters_with_a_static_cache(family, skipped, batch):
    """For which `generate` makes masks of four dimensions."""
    model = scramble(sparsify(tiny(family), parts=BOTH, skipped=skipped), in_full=False)
    options = {"max_new_tokens": 4, "do_sample": False}
    wanted = model.generate(**batch, **options, use_cache=False)
    with sma.record(model) as recording:
        assert torch.equal(model.generate(**batch, **options, cache_implementation="static"), wanted)
    n_real = [int(call.mask.sum()) for call in recording.layers[:: len(routed_parts(model))]]
    assert n_real == [int(batch["attention_mask"].sum()), 3, 3, 3]


@pytest.mark.parametrize("parts", PARTS)
@pytest.mark.parametrize("skipped", ["seen", "unseen"])
def test_a_mask_may_be_as_long_as_a_static_cache(parts, skipped, batch):
    model = scramble(sparsify(tiny("llama"), parts=parts, skipped=skipped), in_full=False)
    ids, real_tokens = batch["input_ids"], batch["attention_mask"]
    cache, mask = StaticCache(config=model.config, max_cache_len=12), torch.zeros(3, 12, dtype=torch.long)
    position, found = (real_tokens.cumsum(1) - 1).clamp(min=0), []
    with torch.no_grad():
        for chunk in (slice(0, 5), *(slice(i, i + 1) for i in range(5, 9))):
            mask[:, chunk] = real_tokens[:, chunk]
            call = {"attention_mask": mask, "past_key_values": cache, "position_ids": position[:, chunk]}
            found.append(model(ids[:, chunk], **call).logits)
        wanted = model(ids, attention_mask=real_tokens, position_ids=position).logits
    torch.testing.assert_close(real(torch.cat(found, 1), batch), real(wanted, batch))


def test_beams_reorder_what_is_unseen(batch):
    model = scramble(sparsify(tiny("llama"), parts=BOTH, skipped="unseen"), in_full=False)
    options = {"max_new_tokens": 4, "num_beams": 3, "do_sample": False}
    assert torch.equal(
        model.generate(**batch, **options), model.generate(**batch, **options, use_cache=False)
    )


@pytest.mark.parametrize("family", ["llama", "bert"])
@pytest.mark.parametrize("parts", PARTS[2:])
def test_a_folder_gives_the_model_back(family, parts, batch, tmp_path):
    model = scramble(sparsify(tiny(family), parts=parts, rate=0.3), in_full=False)
    set_progress(model, 0.4)
    model.save_pretrained(tmp_path)
    kind = json.loads((tmp_path / "config.json").read_text())["model_type"]
    assert kind not in CONFIG_MAPPING_NAMES
    auto = AutoModelForCausalLM if family == "llama" else AutoModel
    loaded = auto.from_pretrained(tmp_path)
    assert type(loaded).__name__ == ("LlamaForCausalLM" if family == "llama" else "BertModel")
    assert loaded.config.sparsify == model.config.sparsify
    assert not loaded.training
    with torch.no_grad():
        mine, theirs = (model.base_model(**batch)[0], loaded.base_model(**batch)[0])
    torch.testing.assert_close(real(mine, batch), real(theirs, batch))
    if family == "llama":
        assert all(
            torch.equal(loaded.state_dict()[name], value) for name, value in model.state_dict().items()
        )
    again = type(model).from_pretrained(tmp_path)
    with torch.no_grad():
        torch.testing.assert_close(real(again(**batch).logits, batch), real(model(**batch).logits, batch))
    loaded.save_pretrained(tmp_path / "again")
    assert json.loads((tmp_path / "again" / "config.json").read_text())["model_type"] == kind


@pytest.mark.parametrize("skipped", ["seen", "unseen"])
def test_the_text_model_of_a_composite_one(skipped, batch, tmp_path):
    """Its parts are found in the whole model, which has a configuration for each of its models."""
    model = tiny_llava()
    given = {**batch, "pixel_values": torch.randn(1, 3, 8, 8)}
    given["input_ids"][0, 2:6] = model.config.image_token_index
    with torch.no_grad():
        expected = real(model(**given).logits, batch)
        sparsify(model, parts=("feed_forward", "attention"), skipped=skipped)
        assert {name.rpartition(".layers.")[0] for name in routed_parts(model)} == {"model.language_model"}
        torch.testing.assert_close(real(model(**given).logits, batch), expected)
        scrambled = real(scramble(model, in_full=False)(**given).logits, batch)
        assert not torch.allclose(scrambled, expected)
        model.save_pretrained(tmp_path)
        loaded = AutoModelForImageTextToText.from_pretrained(tmp_path)
        for attention in ("sdpa", "eager"):
            loaded.set_attn_implementation(attention)
            torch.testing.assert_close(real(loaded(**given).logits, batch), scrambled)
    options = {"max_new_tokens": 4, "do_sample": False}
    assert torch.equal(
        model.generate(**given, **options), model.generate(**given, **options, use_cache=False)
    )


@pytest.mark.parametrize("parts", PARTS)
def test_it_is_pickled(parts, batch):
    model = scramble(sparsify(tiny("llama"), parts=parts), in_full=False)
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    for loaded in (torch.load(file, weights_only=False), pickle.loads(pickle.dumps(model))):
        assert type(loaded) is type(model)
        assert type(loaded.config) is type(model.config)
        with torch.no_grad():
            torch.testing.assert_close(
                real(loaded(**batch).logits, batch), real(model(**batch).logits, batch)
            )


def test_its_class_loads_dense_folders_too(tmp_path):
    dense = tiny("llama")
    dense.save_pretrained(tmp_path)
    loaded = type(sparsify(copy.deepcopy(dense))).from_pretrained(tmp_path)
    assert not routed_parts(loaded)
    assert not loaded.loaded_by
    loaded.save_pretrained(tmp_path / "again")
    LlamaForCausalLM.from_pretrained(tmp_path / "again")


def test_transformers_trainer_goes_on_from_its_checkpoint(tmp_path):
    rows = [{"input_ids": ids, "labels": ids} for ids in torch.randint(2, 40, (8, 6))]

    def trained(folder, steps, **given):
        torch.manual_seed(0)
        given = {"max_steps": steps, "save_steps": 1, "use_cpu": True, "report_to": [], **given}
        settings = TrainingArguments(folder, per_device_train_batch_size=2, disable_tqdm=True, **given)
        model = sparsify(tiny("llama"))
        return Trainer(model, settings, train_dataset=rows, eval_dataset=rows)

    whole = trained(tmp_path / "whole", 3)
    whole.train()
    again = trained(tmp_path / "whole", 3)
    again.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-1"))
    torch.testing.assert_close(again.model.state_dict(), whole.model.state_dict())
    options = {"eval_strategy": "steps", "eval_steps": 1, "load_best_model_at_end": True}
    best = trained(tmp_path / "best", 2, **options)
    best.train()
    assert best.state.best_model_checkpoint


def test_it_keeps_its_class_and_its_dtype(tmp_path):
    model = sparsify(tiny("llama").to(torch.bfloat16), parts=("layer",))
    assert isinstance(model, LlamaForCausalLM)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    model.save_pretrained(tmp_path)
    assert AutoModelForCausalLM.from_pretrained(tmp_path).dtype == torch.bfloat16


@pytest.mark.parametrize("parts", PARTS)
def test_adapters_work_on_what_is_active(parts, batch, tmp_path):
    model = scramble(sparsify(tiny("llama"), parts=parts), in_full=False)
    model.save_pretrained(tmp_path / "base")
    names = ["q_proj", "v_proj", "o_proj", "down_proj"]
    config = peft.LoraConfig(
        r=2, target_modules=names, modules_to_save=["projection"], init_lora_weights=False
    )
    torch.manual_seed(3)
    adapted = peft.get_peft_model(model, config).eval()
    trained = {name for name, parameter in adapted.named_parameters() if parameter.requires_grad}
    assert any("router" in name for name in trained)
    assert all("router" in name or "lora" in name for name in trained)
    with torch.no_grad():
        wanted = adapted(**batch).logits
        merged = copy.deepcopy(adapted).merge_and_unload()(**batch).logits
    torch.testing.assert_close(real(merged, batch), real(wanted, batch), atol=1e-5, rtol=0)
    adapted.save_pretrained(tmp_path / "adapter")
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    loaded = peft.PeftModel.from_pretrained(base, tmp_path / "adapter")
    with torch.no_grad():
        torch.testing.assert_close(real(loaded(**batch).logits, batch), real(wanted, batch))


@pytest.mark.parametrize("parts", PARTS)
def test_recomputed_gradients_are_the_same(parts, batch):
    model = scramble(sparsify(tiny("llama"), parts=parts), in_full=False).train()
    gradients = []
    model(**batch, use_cache=False)  # so that every budget knows the rates of all parts
    for recomputes in (False, True):
        if recomputes:
            model.gradient_checkpointing_enable()
        model.zero_grad()
        with sma.record(model) as recording:
            logits = model(**batch, use_cache=False).logits
        assert len(recording.layers) == len(routed_parts(model))
        (real(logits, batch).square().mean() + sum(recording.losses.values())).backward()
        gradients.append({name: p.grad.clone() for name, p in model.named_parameters()})
    torch.testing.assert_close(*gradients)


def test_reentrant_checkpointing_is_refused():
    model = sparsify(tiny("llama"))
    with pytest.raises(ValueError, match="use_reentrant=True"):
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": True})


@pytest.mark.parametrize("skipped", ["seen", "unseen"])
@pytest.mark.parametrize("parts", PARTS)
@pytest.mark.parametrize("family", ["llama", "gpt_neox", "bert"])
def test_nothing_active_is_the_rest_of_the_model(family, parts, skipped, batch):
    """Every gradient is a tensor, as several processes need it."""
    model = scramble(sparsify(tiny(family), parts=parts, skipped=skipped), bias=-1e4, in_full=False)
    with sma.record(model) as recording:
        logits = real(model(**batch).logits, batch)
    assert not any(call.routing.active.any() for call in recording.layers)
    assert logits.isfinite().all()
    logits.square().mean().backward()
    missing = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert not missing


def test_the_spec_is_read_in_several_forms():
    models = [
        sparsify(tiny("llama"), {"kind": "sparsify", "parts": ["attention"], "rate": 0.2}),
        sparsify(tiny("llama"), parts=("attention",), rate=0.2),
    ]
    assert models[0].config.sparsify == models[1].config.sparsify
    with pytest.raises(ValueError, match=r"give a spec or its fields \(rate\), not both"):
        sparsify(tiny("llama"), {"rate": 0.5}, rate=0.2)


def test_pictures_name_the_parts(batch):
    """Of a row's real tokens, by the classes of what is routed."""
    names = {}
    for parts in PARTS[2:]:
        model = scramble(sparsify(tiny("llama"), parts=parts), in_full=False)
        with torch.no_grad(), sma.record(model) as recording:
            model(**batch)
        found = sma.plots.ActivationMap.of(recording, row=1)
        wanted = [call.routing.active[1, 4:, 0] for call in recording.layers]
        assert torch.equal(found.active, torch.stack(wanted, 1))
        names[parts] = found.names
        sma.plots.draw_layers(recording)
    assert names[BOTH][:2] == ("layer 1, LlamaAttention", "layer 2, LlamaMLP")
    assert names["layer",] == ("layer 1, LlamaDecoderLayer", "layer 2, LlamaDecoderLayer")


def test_gradients_reach_routers_through_what_is_active(batch):
    """None comes from tokens that skip, and none of the budget's own is needed."""
    for parts in PARTS:
        model = scramble(sparsify(tiny("llama"), parts=parts), in_full=False)
        real(model(**batch).logits, batch).square().mean().backward()
        for part in routed_parts(model).values():
            gradients = [p.grad for p in part.router.parameters()]
            assert all(grad.abs().sum() > 0 for grad in gradients)
