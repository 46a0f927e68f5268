"""Models of the transformers library and presets of this project that docs/check.md is about."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from sma.testing.black_box.sources import broken

SIZES = {"vocab_size": 32, "hidden_size": 16, "num_hidden_layers": 2, "initializer_range": 0.3}
HEADS = {"num_attention_heads": 2, "intermediate_size": 32}
GROUPED = {**HEADS, "num_key_value_heads": 1, "head_dim": 8}
MARKS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
MAMBA2 = {
    "mamba_d_state": 4,
    "mamba_n_heads": 4,
    "mamba_d_head": 8,
    "mamba_n_groups": 1,
    "mamba_chunk_size": 4,
}


@dataclass(frozen=True)
class Model:
    """A model that is checked.

    Attributes:
        title: in the table.
        source: lines of Python that set `model`.
        options: of `check_model`.
    """

    title: str
    source: tuple[str, ...]
    options: dict[str, Any] = field(default_factory=dict)

    def build(self) -> nn.Module:
        names: dict[str, Any] = {"torch": torch}
        exec("\n".join(self.source), names)
        return names["model"]


def causal(title: str, kind: str, **fields: Any) -> Model:
    return _of_config(title, "AutoModelForCausalLM", kind, {**MARKS, **fields})


def masked(title: str, kind: str, **fields: Any) -> Model:
    common = {**SIZES, **HEADS, "max_position_embeddings": 64, "pad_token_id": 0}
    return _of_config(title, "AutoModelForMaskedLM", kind, {**common, **fields})


def encoder(title: str, name: str, **fields: Any) -> Model:
    values = {
        "vocab_size": 32,
        "d_model": 16,
        "d_kv": 8,
        "d_ff": 32,
        "num_layers": 2,
        "num_heads": 2,
        **fields,
    }
    return Model(
        title,
        (
            f"from transformers import {name}Config, {name}EncoderModel",
            "torch.manual_seed(0)",
            *broken(f"config = {name}Config({_arguments(values)})"),
            f"model = {name}EncoderModel(config)",
        ),
    )


def _of_config(title: str, auto: str, kind: str, fields: dict[str, Any]) -> Model:
    return Model(
        title,
        (
            f"from transformers import AutoConfig, {auto}",
            "torch.manual_seed(0)",
            *broken(f'config = AutoConfig.for_model("{kind}", {_arguments(fields)})'),
            f"model = {auto}.from_config(config)",
        ),
    )


def _arguments(fields: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in fields.items())


LLAMA = {**SIZES, **GROUPED}
EXPERTS = {**LLAMA, "num_experts_per_tok": 2}
MODELS: dict[str, Model] = {
    "llama": causal("Llama", "llama", **LLAMA),
    "mistral": causal("Mistral", "mistral", **LLAMA, sliding_window=4),
    "gemma2": causal("Gemma 2", "gemma2", **LLAMA, sliding_window=4),
    "gemma3": causal("Gemma 3", "gemma3_text", **LLAMA, sliding_window=4),
    "qwen3": causal("Qwen 3", "qwen3", **LLAMA),
    "mixtral": causal("Mixtral", "mixtral", **EXPERTS, num_local_experts=4),
    "qwen2_moe": causal(
        "Qwen 2 MoE",
        "qwen2_moe",
        **EXPERTS,
        num_experts=4,
        moe_intermediate_size=16,
        shared_expert_intermediate_size=16,
    ),
    "gpt_oss": causal("gpt-oss", "gpt_oss", **EXPERTS, num_local_experts=4, sliding_window=4),
    "deepseek_v3": causal(
        "DeepSeek V3",
        "deepseek_v3",
        **SIZES,
        **HEADS,
        num_key_value_heads=2,
        num_experts_per_tok=2,
        n_routed_experts=4,
        moe_intermediate_size=16,
        n_group=1,
        topk_group=1,
        kv_lora_rank=8,
        q_lora_rank=8,
        qk_rope_head_dim=4,
        qk_nope_head_dim=4,
        v_head_dim=8,
        first_k_dense_replace=1,
    ),
    "gpt2": causal(
        "GPT-2", "gpt2", vocab_size=32, n_embd=16, n_layer=2, n_head=2, n_positions=64, initializer_range=0.3
    ),
    "gpt_neox": causal("GPT-NeoX", "gpt_neox", **SIZES, **HEADS, max_position_embeddings=64),
    "opt": causal(
        "OPT",
        "opt",
        vocab_size=32,
        hidden_size=16,
        num_hidden_layers=2,
        ffn_dim=32,
        num_attention_heads=2,
        max_position_embeddings=64,
        word_embed_proj_dim=16,
        init_std=0.3,
    ),
    "falcon": causal("Falcon", "falcon", **SIZES, num_attention_heads=2),
    "bloom": causal(
        "BLOOM", "bloom", vocab_size=32, hidden_size=16, n_layer=2, n_head=2, initializer_range=0.3
    ),
    "mamba": causal("Mamba", "mamba", **SIZES, state_size=4),
    "mamba2": causal(
        "Mamba 2", "mamba2", **SIZES, state_size=4, num_heads=4, head_dim=8, n_groups=1, chunk_size=4
    ),
    "recurrent_gemma": causal(
        "RecurrentGemma",
        "recurrent_gemma",
        **{**LLAMA, "num_hidden_layers": 3},
        attention_window_size=4,
        lru_width=16,
    ),
    "jamba": causal(
        "Jamba",
        "jamba",
        **{**LLAMA, "num_experts_per_tok": 1},
        num_experts=2,
        attn_layer_period=2,
        attn_layer_offset=1,
        expert_layer_period=2,
        expert_layer_offset=1,
        mamba_d_state=4,
        mamba_dt_rank=2,
    ),
    "zamba2": causal(
        "Zamba 2",
        "zamba2",
        **{**SIZES, **HEADS, "num_hidden_layers": 3},
        num_key_value_heads=2,
        layers_block_type=["linear_attention", "hybrid", "linear_attention"],
        mamba_d_state=4,
        n_mamba_heads=4,
        mamba_ngroups=1,
        chunk_size=4,
        use_mem_rope=True,
    ),
    "bamba": causal("Bamba", "bamba", **LLAMA, **MAMBA2, attn_layer_indices=[1]),
    "falcon_h1": causal("Falcon H1", "falcon_h1", **LLAMA, **MAMBA2, mamba_d_ssm=32),
    "qwen3_next": causal(
        "Qwen 3 Next",
        "qwen3_next",
        **EXPERTS,
        num_experts=4,
        moe_intermediate_size=16,
        shared_expert_intermediate_size=16,
        linear_num_key_heads=2,
        linear_num_value_heads=2,
        linear_key_head_dim=8,
        linear_value_head_dim=8,
        layer_types=["linear_attention", "full_attention"],
    ),
    "lfm2": causal("LFM 2", "lfm2", **LLAMA, layer_types=["conv", "full_attention"]),
    "xlstm": causal(
        "xLSTM", "xlstm", vocab_size=32, hidden_size=128, num_hidden_layers=2, num_heads=2, chunk_size=4
    ),
    "rwkv": causal(
        "RWKV", "rwkv", vocab_size=32, hidden_size=16, num_hidden_layers=2, attention_hidden_size=16
    ),
    "bert": masked("BERT", "bert"),
    "roberta": masked("RoBERTa", "roberta", pad_token_id=1),
    "albert": masked("ALBERT", "albert", embedding_size=16),
    "deberta_v2": masked("DeBERTa v2", "deberta-v2", relative_attention=True, pos_att_type=["p2c", "c2p"]),
    "modernbert": masked(
        "ModernBERT",
        "modernbert",
        local_attention=4,
        global_attn_every_n_layers=2,
        bos_token_id=1,
        eos_token_id=2,
        cls_token_id=1,
        sep_token_id=2,
    ),
    "t5": encoder("T5, encoder", "T5"),
    "switch_transformers": encoder(
        "Switch, encoder", "SwitchTransformers", num_experts=4, num_sparse_encoder_layers=1, expert_capacity=4
    ),
}


def preset(name: str, checks: dict[str, Any] | None = None, **options: Any) -> Model:
    return Model(
        name,
        (
            "from sma.architectures.presets.by_name import expand_preset",
            "torch.manual_seed(0)",
            *broken(f"model = expand_preset({ {'preset': name, **options}!r}).build()"),
        ),
        checks or {},
    )


def pair(model: nn.Module, x: Tensor, mask: Tensor | None) -> Tensor:
    return model((x, x), (mask, mask))


def chain(model: nn.Module, x: Tensor, mask: Tensor | None) -> Tensor:
    real = torch.ones(x.shape[:2], dtype=torch.bool) if mask is None else mask
    row = real.nonzero()[:, 0]
    here = (row[1:] == row[:-1]).nonzero().flatten()
    edges = torch.stack([torch.cat([here, here + 1]), torch.cat([here + 1, here])])
    y = model(x[real], edges, batch=row)
    return y.new_zeros(*real.shape, y.shape[-1]).masked_scatter(real[..., None], y)


SMALL = {"vocab_size": 32, "d_model": 16, "n_layers": 2}
PRESETS: dict[str, Model] = {
    **{
        name: preset(name, **SMALL)
        for name in (
            "gau_always",
            "mega",
            "mixtral_like",
            "mixture_of_depths",
            "seqboat_full",
            "ssm_only",
            "switch",
            "transformer",
        )
    },
    **{
        name: preset(name, **SMALL, window=4)
        for name in ("local_attention", "moe_seqboat", "seqboat", "sma_all")
    },
    "mega_chunk": preset("mega_chunk", **SMALL, chunk=4),
    "graph_network": preset(
        "graph_network", {"call": chain, "d_model": 3}, d_input=3, d_model=16, n_layers=2, n_classes=5
    ),
    "seqboat_enwik8": preset("seqboat_enwik8"),
    "seqboat_lra_image": preset("seqboat_lra_image"),
    "seqboat_lra_listops": preset("seqboat_lra_listops"),
    "seqboat_lra_path_x": preset("seqboat_lra_path_x"),
    "seqboat_lra_pathfinder": preset("seqboat_lra_pathfinder"),
    "seqboat_lra_retrieval": preset("seqboat_lra_retrieval", {"call": pair, "vocab_size": 32}),
    "seqboat_lra_text": preset("seqboat_lra_text"),
    "seqboat_speech_commands": preset("seqboat_speech_commands"),
}


_ONE_CHUNK = (
    "A chunk's scan begins from zero; only steps of one element read the recurrent state of the cache."
)
_IN_MODULES = "The states of its convolution and recurrence are kept in the modules, not in the cache, "
_UNREAD = "The mask reaches its attention only; convolution and recurrence read padding."
_FROM_ZERO = "Without `position_ids`, positions begin at 0 in every call, with a cache, too."
_UNCLAMPED = "The scan of a prompt raises step sizes to `time_step_min`; the update by one element does not."
_IN_PLACE = (
    'The default `mode="inference"` updates states in place; `mode="train"` reads rows of a multiple of '
    "`chunk_size` only."
)
_BROADCAST = (
    "With one element per row, the state `(B, D)` that a call makes for its cache is broadcast against "
    "`(B, 1, D)`."
)
NOTES: dict[tuple[str, str], str] = {
    ("mamba", "decoding in chunks"): _ONE_CHUNK,
    ("jamba", "decoding in chunks"): _ONE_CHUNK,
    ("recurrent_gemma", "left padding"): _UNREAD,
    ("recurrent_gemma", "padding's content"): _UNREAD,
    (
        "recurrent_gemma",
        "decoding in chunks",
    ): "A call with more than one element is taken for a prompt, which begins anew.",
    ("recurrent_gemma", "decoding after another row"): f"{_IN_MODULES}and a prompt of one element goes on "
    "from them.",
    ("recurrent_gemma", "beam reorder"): f"{_IN_MODULES}whose `reorder_cache` does not reach them.",
    **{
        ("zamba2", name): _UNCLAMPED
        for name in (
            "decoding one by one",
            "decoding in chunks",
            "decoding past the window",
            "decoding, left padding",
            "beam reorder",
        )
    },
    **{
        ("bamba", name): _FROM_ZERO
        for name in ("decoding one by one", "decoding in chunks", "decoding past the window", "beam reorder")
    },
    (
        "falcon_h1",
        "rows that leave",
    ): "`batch_select_indices` selects rows of keys and values, and leaves the "
    "states of convolution and recurrence as they are.",
    ("xlstm", "recomputation"): _IN_PLACE,
    ("xlstm", "gradients of idle parts"): _IN_PLACE,
    ("rwkv", "batch-mates"): _BROADCAST,
    ("rwkv", "decoding one by one"): _BROADCAST,
    ("rwkv", "decoding in chunks"): _BROADCAST,
    ("rwkv", "gradients of idle parts"): "The decay takes no part in the result of a single element.",
}
"""What the source of a model says about a violation."""
