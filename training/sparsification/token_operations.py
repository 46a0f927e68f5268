"""Operations that a model of transformers spends on a batch, dense and as its tokens skip."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from sma.recording import LayerRecord
from sma.transformers.sparsification.probe import is_causal
from sma.transformers.sparsification.routed_attention import RoutedAttention, attention_flops
from sma.transformers.sparsification.routed_feed_forward import own_flops
from sma.transformers.sparsification.routed_layer import RoutedLayer


def dense_operations(model: Any, mask: Tensor) -> int:
    """Operations of a dense model on the real tokens of a batch; a multiply-add counts as 2.

    The linear maps inside its layers and that of its predictions, of experts those that a token computes, and
    attention's products; no embeddings, norms or poolers.

    Args:
        model: of transformers.
        mask: `(B, L)` bool, True = a real token.
    """
    head = model.get_output_embeddings()
    per_token = 0 if head is None else 2 * head.weight.numel()
    products = 0
    for name, module in model.base_model.named_modules():
        if any(part.isdigit() for part in name.split(".")):
            per_token += own_flops(module)
            if hasattr(module, "is_causal"):  # an attention
                causal, window = module.is_causal, _window(module)
                n_pairs = pairs(mask, mask, causal=causal, sees_skipped=True, window=window)
                products += 4 * n_pairs * _width(module, model.config)
    return per_token * int(mask.sum()) + products


def saved_operations(calls: Sequence[LayerRecord], model: Any) -> int:
    """Operations that the tokens of a model's recorded calls skipped, less those of the routers."""
    saved, causal = 0, is_causal(model)
    for call in calls:
        active = call.routing.active[..., 0]
        dense, sparse = (_spent(call.layer, each, call.mask, causal) for each in (call.mask, active))
        router: Any = call.layer.router
        saved += dense - sparse
        saved -= 2 * int(call.mask.sum()) * sum(p.numel() for p in router.parameters() if p.dim() == 2)
    return saved


def parts_share(calls: Sequence[LayerRecord]) -> tuple[int, int]:
    """What routed parts computed, and what they would have without skipping, as their budget counts it.

    That is by operations per token, without those products of attention whose number grows with the length.
    """
    computed, whole = (
        sum(_flops(call.layer)[0](int(tokens.sum()), 0) for call, tokens in zip(calls, each, strict=True))
        for each in ([call.routing.active[..., 0] for call in calls], [call.mask for call in calls])
    )
    return computed, whole


def pairs(
    active: Tensor, real: Tensor, *, causal: bool, sees_skipped: bool, window: int | None = None
) -> int:
    """How many keys the active tokens see in all.

    Args:
        active: `(B, L)` bool.
        real: `(B, L)` bool.
        causal: whether a token sees none after it.
        sees_skipped: whether it sees real tokens that are not active.
        window: of a causal one, how many places it sees, its own among them; None: all.

    Example:
        >>> import torch
        >>> real = torch.tensor([[True, True, True, False]])
        >>> active = torch.tensor([[True, False, True, False]])
        >>> [pairs(active, real, causal=c, sees_skipped=s) for c in (True, False) for s in (True, False)]
        [4, 3, 6, 4]
    """
    seen = real if sees_skipped else active
    keys = seen.cumsum(1) if causal else seen.sum(1, keepdim=True).expand_as(seen)
    if causal and window is not None:
        keys = keys - F.pad(keys, (window, 0))[:, : seen.shape[1]]
    return int(keys[active].sum())


def _spent(layer: nn.Module, active: Tensor, real: Tensor, causal: bool) -> int:
    """What the active tokens cause in a routed layer, as if all others skipped it."""
    n = int(active.sum())
    flops, attention, seen = _flops(layer)
    if attention is None:
        return flops(n, 0)
    return flops(n, pairs(active, real, causal=causal, sees_skipped=seen, window=_window(attention)))


def _flops(layer: nn.Module) -> tuple[Callable[[int, int], int], nn.Module | None, bool]:
    """Operations by tokens and pairs, the attention if there is one, and whether it sees skipped tokens."""
    if isinstance(layer, RoutedAttention):
        part = layer.part
        attention, seen = part.module, part.sees_skipped
        return partial(attention_flops, attention, part.projections, sees_skipped=seen), attention, seen
    if isinstance(layer, RoutedLayer):
        parts = layer.parts
        return layer.flops, layer.get_submodule(parts.attention), parts.sees_skipped
    (module,) = layer.sub_modules  # type: ignore[misc]
    return (lambda n, n_pairs: module.flops(n)), None, False


def _width(attention: nn.Module, config: Any) -> int:
    """The width of all heads."""
    for name in ("head_dim", "head_size", "attention_head_size"):
        if hasattr(attention, name):
            return int(getattr(attention, name)) * int(config.num_attention_heads)
    return int(config.hidden_size)


def _window(attention: Any) -> int | None:
    """How many places a token of an attention sees, if not all."""
    config = getattr(attention, "config", None)
    window: int | None = getattr(attention, "sliding_window", getattr(config, "sliding_window", None))
    return window
