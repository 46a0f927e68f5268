"""Checks that transformers' own tests make of every model, by the names that they have there.

The installed package does not contain these tests (`ModelTesterMixin`, `GenerationTesterMixin`). Those whose
subject is in a file's own test are there; `NOT_APPLICABLE` lists the others, each with its reason.
"""

import copy
import pickle

import pytest
import torch

from sma.architectures.presets.by_name import model_presets, starting_sizes
from sma.transformers import (
    SMAConfig,
    SMAForCausalLM,
    SMAForSequenceClassification,
    SMAForTokenClassification,
    SMAModel,
)

PRESETS = ["seqboat", "mega_chunk", "mixtral_like", "mixture_of_depths", "sma_all", "ssm_only", "transformer"]
HEADS = {
    SMAForSequenceClassification: {"kind": "classifier", "n_classes": 3},
    SMAForTokenClassification: {"kind": "node_classifier", "n_classes": 3},
}
CLASSES = [SMAForCausalLM, SMAForSequenceClassification, SMAForTokenClassification, SMAModel]
MODELS = [pytest.param(preset, SMAForCausalLM, id=preset) for preset in PRESETS]
MODELS += [pytest.param("seqboat", cls, id=cls.__name__) for cls in CLASSES[1:]]

NOT_APPLICABLE = {
    "test_inputs_embeds": "the embedding adds positions and norms to what it reads; inputs_embeds is refused",
    "test_inputs_embeds_matches_input_ids": "inputs_embeds is refused in one line",
    "test_generate_from_inputs_embeds": "inputs_embeds is refused in one line",
    "test_generate_continue_from_inputs_embeds": "inputs_embeds is refused in one line",
    "test_resize_tokens_embeddings": "vocab_size is a field of the spec; another one is refused in one line",
    "test_resize_embeddings_untied": "vocab_size is a field of the spec; another one is refused in one line",
    "test_resize_position_vector_embeddings": "positions are fields of the spec",
    "test_attention_outputs": "sub-modules attend to their activated elements only; sma.record shows those",
    "test_feed_forward_chunking": "feed-forwards are sub-modules of a spec, not transformers' own",
    "test_custom_4d_attention_mask": "a mask is (B, L); causality is a property of the spec",
    "test_eager_matches_sdpa_inference": "attention is this project's own: attention_backend switches it",
    "test_sdpa_can_dispatch_composite_models": "attention is this project's own",
    "test_flash_attn_2_inference_equivalence": "attention is this project's own; needs a GPU there",
    "test_past_key_values_format": "a StateCache holds no keys and values; tested in test_cache.py",
    "test_generate_with_static_cache": "the state has a constant size; cache_implementation is refused",
    "test_generate_with_quant_cache": "the state has a constant size; cache_implementation is refused",
    "test_generate_compilation_all_outputs": "StateCache is not compileable by generate; see test_base.py",
    "test_assisted_decoding_matches_greedy_search": "a state cannot go back; refused in one line",
    "test_prompt_lookup_decoding_matches_greedy_search": "a state cannot go back; refused in one line",
    "test_contrastive_generate": "it needs the hidden states of all elements; refused in one line",
    "test_group_beam_search_generate": "transformers loads it as code from the Hub; refused in one line",
    "test_constrained_beam_search_generate": "transformers loads it from the Hub; refused in one line",
    "test_init_weights_can_init_buffers": "parts initialise themselves when they are built",
    "test_can_init_all_missing_weights": "parts initialise themselves; a head may be missing, test_base.py",
    "test_keep_in_fp32_modules": "modules keep recurrences in float32 by themselves, test_base.py",
    "test_multi_gpu_data_parallel_forward": "needs two GPUs",
    "test_model_parallelism": "needs two GPUs",
    "test_disk_offload_safetensors": "needs a GPU",
    "test_cpu_offload": "needs a GPU",
}


@pytest.mark.parametrize("name", NOT_APPLICABLE)
def test_what_does_not_apply(name):
    pytest.skip(f"{name}: {NOT_APPLICABLE[name]}")


def build(preset, cls, **fields):
    sizes = starting_sizes(preset)
    torch.manual_seed(0)
    spec = model_presets()[preset](**{**sizes, "vocab_size": 40, "d_model": 16, "n_layers": 2})
    values = spec.model_dump(mode="json")
    if cls in HEADS:
        values["head"] = HEADS[cls]
    return cls(SMAConfig(spec=values, **fields)).eval()


@pytest.fixture
def words():
    return torch.randint(40, (3, 7), generator=torch.Generator().manual_seed(0))


@pytest.fixture
def mask():
    return torch.tensor([[1] * 7, [0] * 3 + [1] * 4, [1] * 7])


def labels(model, words):
    kinds = {SMAForCausalLM: words, SMAForSequenceClassification: words[:, 0] % 3}
    return kinds.get(type(model), words % 3)


def first(output):
    return output.last_hidden_state if "last_hidden_state" in output else output.logits


@pytest.mark.parametrize(("preset", "cls"), MODELS)
def test_save_load(preset, cls, words, mask, tmp_path):
    model = build(preset, cls)
    model.save_pretrained(tmp_path)
    loaded = cls.from_pretrained(tmp_path)
    assert torch.equal(first(loaded(words, mask)), first(model(words, mask)))


@pytest.mark.parametrize(("preset", "cls"), MODELS)
def test_determinism(preset, cls, words):
    model = build(preset, cls)
    assert torch.equal(first(model(words)), first(model(words)))


@pytest.mark.parametrize(("preset", "cls"), MODELS)
def test_batching_equivalence(preset, cls, words, mask):
    model = build(preset, cls)
    together = first(model(words, mask))
    for row, real, found in zip(words, mask.bool(), together, strict=True):
        alone = first(model(row[real][None]))[0]
        torch.testing.assert_close(found[real] if found.dim() == 2 else found, alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("preset", "cls"), MODELS)
def test_model_outputs_equivalence(preset, cls, words):
    model = build(preset, cls)
    found = model(words, output_hidden_states=True)
    values = model(words, output_hidden_states=True, return_dict=False)
    assert torch.equal(values[0], first(found))
    assert all(map(torch.equal, values[1], found.hidden_states))
    model.config.return_dict = False
    assert isinstance(model(words), tuple)


@pytest.mark.parametrize(("preset", "cls"), MODELS)
def test_hidden_states_output(preset, cls, words):
    model = build(preset, cls, output_hidden_states=True)
    hidden = model(words).hidden_states
    assert len(hidden) == model.config.num_hidden_layers + 1
    assert {tuple(state.shape) for state in hidden} == {(3, 7, model.config.hidden_size)}


@pytest.mark.parametrize(("preset", "cls"), [model for model in MODELS if model.values[1] is not SMAModel])
def test_training(preset, cls, words, mask):
    model = build(preset, cls).train()
    model(words, mask, labels=labels(model, words)).loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_retain_grad_hidden_states_attentions(words):
    model = build("seqboat", SMAForCausalLM)
    output = model(words, output_hidden_states=True)
    output.hidden_states[0].retain_grad()
    output.logits[0, 0, 0].backward()
    assert output.hidden_states[0].grad.abs().sum() > 0


@pytest.mark.parametrize("cls", CLASSES)
def test_torch_save_load(cls, words):
    """Also copies; tied weights stay tied, and those of the copy are its own."""
    model = build("seqboat", cls)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(first(other(words)), first(model(words)))
        with torch.no_grad():
            other.model.embedding.weight.zero_()
        assert model.model.embedding.weight.any()
        if cls is SMAForCausalLM:
            assert not other(words).logits.any()


@pytest.mark.parametrize("cls", CLASSES)
def test_model_main_input_name(cls, words):
    model = build("seqboat", cls)
    assert torch.equal(first(model(**{model.main_input_name: words})), first(model(words)))


def test_model_get_set_embeddings():
    model = build("seqboat", SMAForCausalLM)
    assert model.get_input_embeddings().weight.shape == (40, 16)
    assert model.num_parameters() == sum(p.numel() for p in model.model.parameters())


@pytest.mark.parametrize("preset", [preset for preset in PRESETS if preset != "mixture_of_depths"])
def test_left_padding_compatibility(preset, words, mask):
    """And generation: greedy, with and without a cache. (A router with a predictor decodes approximately.)"""
    model = build(preset, SMAForCausalLM)
    options = {"max_new_tokens": 4, "do_sample": False}
    together = model.generate(words, attention_mask=mask, **options)
    assert torch.equal(together, model.generate(words, attention_mask=mask, use_cache=False, **options))
    alone = model.generate(words[1:2, 3:], **options)
    assert torch.equal(together[1, 3:], alone[0])


@pytest.mark.parametrize("num_beams", [1, 3])
@pytest.mark.parametrize("do_sample", [False, True])
def test_generate_dict_outputs(words, num_beams, do_sample):
    model = build("seqboat", SMAForCausalLM)
    torch.manual_seed(0)
    found = model.generate(
        words,
        max_new_tokens=3,
        num_beams=num_beams,
        do_sample=do_sample,
        num_return_sequences=2 if do_sample else 1,
        return_dict_in_generate=True,
        output_scores=True,
        output_logits=True,
    )
    assert found.sequences.shape == (6 if do_sample else 3, 10)
    assert len(found.scores) == len(found.logits) == 3
    assert found.past_key_values.get_seq_length() == 9


def test_generate_without_input_ids():
    model = build("seqboat", SMAForCausalLM)
    assert model.generate(bos_token_id=5, max_new_tokens=3).shape == (1, 4)


def test_generate_continue_from_past_key_values(words):
    model = build("seqboat", SMAForCausalLM)
    options = {"do_sample": False, "return_dict_in_generate": True}
    part = model.generate(words, max_new_tokens=2, **options)
    cache, text = part.past_key_values, part.sequences
    rest = model.generate(text, past_key_values=cache, max_new_tokens=3, **options).sequences
    assert torch.equal(rest, model.generate(words, max_new_tokens=5, **options).sequences)


def test_config():
    config = build("seqboat", SMAForCausalLM).config
    assert SMAConfig.from_dict(config.to_dict()).to_dict() == config.to_dict()
    assert copy.deepcopy(config).to_dict() == config.to_dict()
    assert config.to_json_string() == SMAConfig(**config.to_dict()).to_json_string()
