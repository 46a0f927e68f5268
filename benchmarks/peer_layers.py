"""Layers and parts of layers of this project and of its peers, as training steps of equal width."""

import functools
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.layer import our_layer, pair
from benchmarks.measure import training_step
from sma import PackedCompaction
from sma.modules import ExpertBank, MixtureOfExperts, SelectiveSSM, TopKRouter
from sma.modules.attention import windowed_attention

D_MODEL, D_HEAD, N_HEADS, WINDOW, D_STATE, SHARE = 128, 64, 2, 128, 16, 0.1
N_EXPERTS, TOP_K, D_EXPERT_MODEL, N_ELEMENTS = 8, 2, 256, 4096
Call = Callable[[Tensor], Tensor]


def layer_step(
    threads: int, name: str, length: int, reference: Path | None = None, device: str = "cpu"
) -> Callable[[], None]:
    """A training step of a layer on one row of `length` elements."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    x = torch.randn(1, length, D_MODEL)
    if reference is not None and name == "published SeqBoat":
        layer = pair(reference, "rotary", False, length, SHARE, x)[0].to(device)
        return training_step(layer, x.to(device), lambda x: layer(x.transpose(0, 1)).transpose(0, 1))
    layer, x = LAYERS[name](length, x).to(device), x.to(device)
    return training_step(layer, x, CALLS[name](layer, x) if name in CALLS else None)


def _seqboat(length: int, x: Tensor) -> nn.Module:
    return our_layer("rotary", False, length, SHARE, x)


def _routed(length: int, x: Tensor) -> nn.Module:
    from colt5_attention import ConditionalRoutedAttention

    n_routed = round(SHARE * length)
    return ConditionalRoutedAttention(
        D_MODEL,
        num_heavy_tokens_q=n_routed,
        num_heavy_tokens_kv=n_routed,
        light_dim_head=D_HEAD,
        light_heads=N_HEADS,
        light_window_size=WINDOW,
        heavy_dim_head=D_HEAD,
        heavy_heads=N_HEADS,
    )


def _local(length: int, x: Tensor) -> nn.Module:
    from local_attention.transformer import LocalMHA

    return LocalMHA(dim=D_MODEL, window_size=WINDOW, dim_head=D_HEAD, heads=N_HEADS, causal=True)


def _mega(length: int, x: Tensor) -> nn.Module:
    from mega_pytorch.mega_pytorch import MegaLayer

    return MegaLayer(dim=D_MODEL, ema_heads=D_STATE, attn_dim_qk=64, attn_dim_value=256, causal=True)


def _mambapy(length: int, x: Tensor) -> nn.Module:
    from mambapy.mamba import MambaBlock, MambaConfig

    return MambaBlock(MambaConfig(d_model=D_MODEL, n_layers=1, d_state=D_STATE))


def _mamba(length: int, x: Tensor) -> nn.Module:
    from transformers import MambaConfig
    from transformers.models.mamba.modeling_mamba import MambaMixer

    return MambaMixer(MambaConfig(hidden_size=D_MODEL, state_size=D_STATE, num_hidden_layers=1), layer_idx=0)


def _mamba2(length: int, x: Tensor) -> nn.Module:
    from transformers import Mamba2Config
    from transformers.models.mamba2.modeling_mamba2 import Mamba2Mixer

    config = Mamba2Config(
        hidden_size=D_MODEL,
        state_size=64,
        num_heads=2 * D_MODEL // D_HEAD,
        head_dim=D_HEAD,
        n_groups=1,
        num_hidden_layers=1,
    )
    return Mamba2Mixer(config, layer_idx=0)


def _recurrent(length: int, x: Tensor) -> nn.Module:
    from transformers import RecurrentGemmaConfig
    from transformers.models.recurrent_gemma.modeling_recurrent_gemma import RecurrentGemmaRecurrentBlock

    config = RecurrentGemmaConfig(hidden_size=D_MODEL, num_attention_heads=N_HEADS, num_hidden_layers=1)
    return RecurrentGemmaRecurrentBlock(config, layer_idx=0)


def _llama(length: int, x: Tensor) -> nn.Module:
    from transformers import LlamaConfig
    from transformers.models.llama.modeling_llama import LlamaAttention

    config = LlamaConfig(hidden_size=D_MODEL, num_attention_heads=N_HEADS, num_key_value_heads=N_HEADS)
    config._attn_implementation = "sdpa"
    return LlamaAttention(config, layer_idx=0)


def _call_recurrent(layer: nn.Module, x: Tensor) -> Call:
    position = torch.arange(x.shape[1], device=x.device)[None]
    return lambda x: layer(x, position, None, use_cache=False)[0]


def _call_llama(layer: nn.Module, x: Tensor) -> Call:
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

    rotations = LlamaRotaryEmbedding(layer.config)(x, torch.arange(x.shape[1], device=x.device)[None])
    return lambda x: layer(x, rotations, None)[0]


LAYERS: dict[str, Callable[[int, Tensor], nn.Module]] = {
    "SeqBoat, 10 % active": _seqboat,
    "CoLT5 routed attention, 10 %": _routed,
    "local-attention": _local,
    "mega-pytorch": _mega,
    "mambapy": _mambapy,
    "transformers Mamba": _mamba,
    "transformers RecurrentGemma, recurrent block": _recurrent,
    "transformers Llama, attention": _llama,
    "SelectiveSSM": lambda length, x: SelectiveSSM(D_MODEL),
    "transformers Mamba2": _mamba2,
}
CALLS: dict[str, Callable[[nn.Module, Tensor], Call]] = {
    "transformers RecurrentGemma, recurrent block": _call_recurrent,
    "transformers Llama, attention": _call_llama,
}


def window_step(
    threads: int, name: str, length: int, n_heads: int, d_head: int, window: int
) -> Callable[[], object]:
    """Forward and backward of causal attention in a window alone; each side has the layout that it takes."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    if name == "windowed_attention":
        everything = torch.ones(1, length, dtype=torch.bool)
        elements = PackedCompaction().compress(torch.zeros(1, length, 1), everything)
        attention = functools.partial(windowed_attention, elements=elements, window=window)
        shape: tuple[int, ...] = (length, n_heads, d_head)
    else:
        from local_attention import LocalAttention

        exact = name.endswith("exact window")
        attention = LocalAttention(window, causal=True, exact_windowsize=exact, use_rotary_pos_emb=False)
        shape = (1, n_heads, length, d_head)
    inputs = [torch.randn(shape, requires_grad=True) for _ in range(3)]
    grad = torch.randn(shape)
    return lambda: torch.autograd.grad(attention(*inputs), inputs, grad)


def our_experts(d_hidden: int) -> MixtureOfExperts:
    router = TopKRouter(
        D_EXPERT_MODEL, n_modules=N_EXPERTS, top_k=TOP_K, balance_coefficient=0, z_coefficient=0
    )  # Mixtral's block computes no losses either
    return MixtureOfExperts(router, ExpertBank(D_EXPERT_MODEL, n_experts=N_EXPERTS, d_hidden=d_hidden))


def mixtral(layer: MixtureOfExperts, d_hidden: int, implementation: str) -> nn.Module:
    """transformers' block with the same weights."""
    from transformers import MixtralConfig
    from transformers.models.mixtral.modeling_mixtral import MixtralSparseMoeBlock

    config = MixtralConfig(
        hidden_size=D_EXPERT_MODEL,
        intermediate_size=d_hidden,
        num_local_experts=N_EXPERTS,
        num_experts_per_tok=TOP_K,
        experts_implementation=implementation,
    )
    block = MixtralSparseMoeBlock(config)
    block.gate.weight.data.copy_(layer.router.projection.weight)
    block.experts.gate_up_proj.data.copy_(layer.bank.weight_in.mT)
    block.experts.down_proj.data.copy_(layer.bank.weight_out.mT)
    return block


def experts_step(threads: int, name: str, d_hidden: int) -> Callable[[], None]:
    """A training step of 4,096 elements, each of which takes 2 of 8 gated feed-forwards."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    ours = our_experts(d_hidden)
    x = torch.randn(1, N_ELEMENTS, D_EXPERT_MODEL)
    if name == "MixtureOfExperts":
        return training_step(ours, x)
    if name.startswith("st-moe-pytorch"):
        from st_moe_pytorch import MoE

        multiple = 1.5 * d_hidden / D_EXPERT_MODEL  # it takes two thirds of it
        layer = MoE(D_EXPERT_MODEL, num_experts=N_EXPERTS, gating_top_n=TOP_K, expert_hidden_mult=multiple)
        return training_step(layer, x, lambda x: layer(x)[0])
    block = mixtral(ours, d_hidden, name.rpartition(", ")[2])
    torch.testing.assert_close(block(x), ours(x))
    return training_step(block, x)
