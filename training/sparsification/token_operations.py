"""Operations that a model of transformers spends on a batch, dense and as its tokens skip."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from sma.recording import LayerRecord
from sma.transformers.sparsification.find_parts import find_parts
from sma.transformers.sparsification.routed_attention import RoutedAttention, attention_flops
from sma.transformers.sparsification.routed_layer import RoutedLayer
from sma.transformers.sparsification.sparsify_spec import SparsifySpec


def dense_operations(model: Any, mask: Tensor) -> int:
    """Operations of a dense model on the real tokens of a batch; a multiply-add counts as 2.

    The linear maps inside its layers and that of its predictions, and attention's products; no embeddings,
    norms or poolers.

    Args:
        model: of transformers, of a known structure.
        mask: `(B, L)` bool, True = a real token.
    """
    body = model.base_model
    layers = [
        module
        for name, module in body.named_modules()
        if isinstance(module, nn.Linear) and any(part.isdigit() for part in name.split("."))
    ]
    head = model.get_output_embeddings()
    per_token = sum(2 * linear.weight.numel() for linear in (*layers, *([] if head is None else [head])))
    attentions = find_parts(body, SparsifySpec(parts=("attention",)))
    n_pairs = pairs(mask, mask, causal=is_causal(model), sees_skipped=True)
    products = 0
    for each in attentions:
        assert each.projections is not None
        output: Any = each.module.get_submodule(each.projections.output)
        products += 4 * n_pairs * output.in_features
    return per_token * int(mask.sum()) + products


def saved_operations(calls: Sequence[LayerRecord], *, causal: bool) -> int:
    """Operations that the tokens of the recorded calls skipped, less those of the routers."""
    saved = 0
    for call in calls:
        active = call.routing.active[..., 0]
        saved += _spent(call.layer, call.mask, call.mask, causal) - _spent(
            call.layer, active, call.mask, causal
        )
        router: Any = call.layer.router
        saved -= 2 * int(call.mask.sum()) * sum(p.numel() for p in router.parameters() if p.dim() == 2)
    return saved


def pairs(active: Tensor, real: Tensor, *, causal: bool, sees_skipped: bool) -> int:
    """How many keys the active tokens see in all.

    Args:
        active: `(B, L)` bool.
        real: `(B, L)` bool.
        causal: whether a token sees none after it.
        sees_skipped: whether it sees real tokens that are not active.

    Example:
        >>> import torch
        >>> real = torch.tensor([[True, True, True, False]])
        >>> active = torch.tensor([[True, False, True, False]])
        >>> [pairs(active, real, causal=c, sees_skipped=s) for c in (True, False) for s in (True, False)]
        [4, 3, 6, 4]
    """
    seen = real if sees_skipped else active
    keys = seen.cumsum(1) if causal else seen.sum(1, keepdim=True).expand_as(seen)
    return int(keys[active].sum())


def is_causal(model: Any) -> bool:
    """Whether a token of the model sees none after it."""
    return any(getattr(module, "is_causal", False) for module in model.modules())


def _spent(layer: nn.Module, active: Tensor, real: Tensor, causal: bool) -> int:
    n = int(active.sum())
    if isinstance(layer, RoutedAttention):
        part = layer.part
        n_pairs = pairs(active, real, causal=causal, sees_skipped=part.sees_skipped)
        return attention_flops(part.module, part.projections, n, n_pairs, sees_skipped=part.sees_skipped)
    if isinstance(layer, RoutedLayer):
        return layer.flops(n, pairs(active, real, causal=causal, sees_skipped=layer.parts.sees_skipped))
    (module,) = layer.sub_modules  # type: ignore[misc]
    return module.flops(n)
