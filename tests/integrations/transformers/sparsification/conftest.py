"""Tiny models of each family, with random weights."""

import pytest
import torch
import transformers

from sma.modules import SigmoidRouter
from sma.transformers.sparsification import routed_parts
from sma.transformers.sparsification.open_router import Saturating

SIZES = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 40,
    "max_position_embeddings": 64,
}
GROUPED = {"num_key_value_heads": 2}
FAMILIES = {
    "llama": ("LlamaForCausalLM", GROUPED),
    "mistral": ("MistralForCausalLM", {**GROUPED, "sliding_window": 4}),
    "gemma": ("GemmaForCausalLM", {**GROUPED, "head_dim": 8}),
    "gemma2": ("Gemma2ForCausalLM", {**GROUPED, "head_dim": 8, "sliding_window": 4}),
    "qwen2": ("Qwen2ForCausalLM", GROUPED),
    "qwen3": ("Qwen3ForCausalLM", {**GROUPED, "head_dim": 8}),
    "gpt_neox": ("GPTNeoXForCausalLM", {"use_parallel_residual": False}),
    "gpt_neox_parallel": ("GPTNeoXForCausalLM", {}),
    "gpt2": ("GPT2LMHeadModel", {}),
    "persimmon": ("PersimmonForCausalLM", {"qk_layernorm": True}),
    "doge": ("DogeForCausalLM", GROUPED),
    "bert": ("BertForMaskedLM", {}),
    "layoutlm": ("LayoutLMForMaskedLM", {}),
}
ENCODERS = ("bert", "layoutlm")
CAUSAL = tuple(name for name in FAMILIES if name not in ENCODERS)
EXPERTS = {"num_experts_per_tok": 2}
OTHERS = {
    "mixtral": ("MixtralForCausalLM", {**GROUPED, **EXPERTS, "num_local_experts": 3}),
    "qwen2_moe": (
        "Qwen2MoeForCausalLM",
        {
            **GROUPED,
            **EXPERTS,
            "num_experts": 3,
            "moe_intermediate_size": 8,
            "shared_expert_intermediate_size": 8,
        },
    ),
    "llama4": (
        "Llama4ForCausalLM",
        {**GROUPED, "head_dim": 8, "intermediate_size_mlp": 8, "num_local_experts": 2},
    ),
    "bloom": ("BloomForCausalLM", {"n_head": 4}),
    "xmod": ("XmodModel", {"languages": ("en",), "default_language": "en"}),
    "mobilebert": ("MobileBertModel", {"embedding_size": 16, "intra_bottleneck_size": 8}),
    "albert": ("AlbertModel", {"embedding_size": 8}),
    "fnet": ("FNetModel", {}),
    "big_bird": ("BigBirdModel", {}),
    "canine": ("CanineModel", {}),
    "rembert": ("RemBertModel", {"input_embedding_size": 8}),
}
"""Of other structures."""


def tiny(family, **fields):
    """A dense model of a family, in evaluation mode."""
    torch.manual_seed(0)
    name, more = {**FAMILIES, **OTHERS}[family]
    model_class = getattr(transformers, name)
    special = {"bos_token_id": 1, "eos_token_id": None, "pad_token_id": 0}
    return model_class(model_class.config_class(**{**SIZES, **special, **more, **fields})).eval()


def tiny_llava():
    """A model of pictures and text, in evaluation mode, whose text model is of a known structure."""
    torch.manual_seed(0)
    pictures = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.LlavaConfig(
        vision_config=transformers.CLIPVisionConfig(**pictures, image_size=8, patch_size=4),
        text_config=transformers.LlamaConfig(**SIZES, **GROUPED, bos_token_id=1, eos_token_id=None),
        image_token_index=1,
    )
    return transformers.LlavaForConditionalGeneration(config).eval()


def scramble(model, bias=0.0, *, in_full=True):
    """Give the routers weights by which about half of the tokens are active, more with a higher bias.

    What is active counts in full, which a saved model does not keep, or by its confidence.
    """
    torch.manual_seed(1)
    for part in routed_parts(model).values():
        for router in part.router.modules():
            if isinstance(router, SigmoidRouter):
                torch.nn.init.normal_(router.projection.weight)
                torch.nn.init.constant_(router.projection.bias, bias)
            if isinstance(router, Saturating) and in_full:
                router.full = router.threshold + 1e-9
    return model


@pytest.fixture
def batch():
    """Three rows, two of them with padding on the left."""
    torch.manual_seed(2)
    ids = torch.randint(2, 40, (3, 9))
    mask = torch.ones(3, 9, dtype=torch.long)
    mask[1, :4] = mask[2, :1] = 0
    return {"input_ids": ids * mask, "attention_mask": mask}
