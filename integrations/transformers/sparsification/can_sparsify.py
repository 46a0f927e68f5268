"""Reasons against routing a model's parts, found before anything is changed."""

from collections import Counter
from collections.abc import Iterator, Sequence
from inspect import signature
from typing import Any

from sma.routing import Router
from sma.transformers.sparsification.attention_functions import calls_interface, sparse_implementation
from sma.transformers.sparsification.find_parts import FoundPart
from sma.transformers.sparsification.probe import is_causal, looks_ahead
from transformers import PreTrainedModel


def check_model(model: Any) -> None:
    """Raise ValueError unless the model is of a sort whose parts can be routed."""
    if not isinstance(model, PreTrainedModel):
        raise ValueError(
            f"model is of type {type(model).__name__}, not a model of transformers; sparsify what "
            "from_pretrained returns, before adapters are added, and build others with sma.SMA"
        )
    if any(isinstance(module, Router) for module in model.modules()):
        raise ValueError("the model has routers already; sparsify a dense one")
    _check_one_sequence(model)
    quantised = next(_quantised(model), None)
    if quantised is not None or getattr(model, "hf_quantizer", None) is not None:
        raise ValueError(
            f"the weights are quantised ({quantised or model.config.quantization_config}); sparsify the "
            "model in floating point and quantise it afterwards"
        )


def check_parts(model: PreTrainedModel, parts: Sequence[FoundPart], *, hides: bool) -> None:
    """Raise ValueError unless every part can be routed on its own; `hides`: tokens that skip are unseen."""
    counts = Counter(id(m) for _, m in model.named_modules(remove_duplicate=False))
    owners: Counter[int] = Counter(
        id(parameter) for _, parameter in model.named_parameters(remove_duplicate=False)
    )
    for part in parts:
        if counts[id(part.module)] > 1:
            raise ValueError(
                f"{part.name} is used in several places of the model, and a router decides for one; give "
                f"each a module of its own (copy.deepcopy), or leave {part.name} out by `only`"
            )
        tied = next((name for name, p in part.module.named_parameters() if owners[id(p)] > 1), None)
        if tied is not None:
            raise ValueError(
                f"{part.name}.{tied} is tied to another weight of the model; untie it, or leave {part.name} "
                "out by `only`"
            )
    _check_experts(model, [part for part in parts if part.part != "attention"])
    _check_attentions(model, [part for part in parts if part.part != "feed_forward"], hides=hides)


def check_routers(model: PreTrainedModel, routers: Sequence[Router], kind: str) -> None:
    """Raise ValueError if routers of a kind look ahead in a model that must not."""
    if all(router.causal for router in routers):
        return
    if is_causal(model) or not looks_ahead(model):
        raise ValueError(
            f"router {kind!r} looks ahead, which {type(model).__name__} must not; use a causal router, such "
            "as sigmoid"
        )


def _check_one_sequence(model: PreTrainedModel) -> None:
    """Raise ValueError if a model's call takes another sequence; an encoder of such a model does not."""
    takes = signature(type(model).forward).parameters
    decodes = model.config.is_encoder_decoder and getattr(model, "is_decoder", True)
    crosses = decodes or getattr(model.config, "add_cross_attention", False)
    if "decoder_input_ids" in takes or (crosses and "encoder_hidden_states" in takes):
        raise ValueError(
            f"{type(model).__name__} attends to another sequence, which routed parts cannot; sparsify its "
            "encoder alone, as get_encoder() gives it, or a model without cross-attention"
        )


def _quantised(model: PreTrainedModel) -> Iterator[str]:
    """The names of weights that are integers or of 8 bits, or that a module does not hold as a tensor."""
    for name, parameter in model.named_parameters():
        if not parameter.is_floating_point() or parameter.dtype.itemsize < 2:
            yield name
    for name, module in model.named_modules():
        if callable(getattr(module, "weight", None)):  # of torch.ao.nn.quantized
            yield f"{name}.weight"


def _check_experts(model: PreTrainedModel, parts: Sequence[FoundPart]) -> None:
    """Raise ValueError if the model's loss asks the gates of experts about tokens that may skip them."""
    if not getattr(model.config.get_text_config(), "output_router_logits", False):
        return
    for part in parts:
        if any(hasattr(inner, "experts") for inner in part.module.modules()):
            raise ValueError(
                f"output_router_logits=True: the loss that balances experts asks the gate in {part.name} "
                "about all tokens, also those that skip it; set it to False in the model's config"
            )


def _check_attentions(model: PreTrainedModel, parts: Sequence[FoundPart], *, hides: bool) -> None:
    n_shared = getattr(model.config.get_text_config(), "num_kv_shared_layers", 0)
    if parts and hides and n_shared:
        raise ValueError(
            f"skipped='unseen': the last {n_shared} layers of {type(model).__name__} use keys of earlier "
            "layers (num_kv_shared_layers), and would see those that are not there; set skipped='seen'"
        )
    for part in parts:
        attention = part.module.get_submodule(part.attention)
        if not calls_interface(attention):
            name = ".".join(filter(None, (part.name, part.attention)))
            raise ValueError(
                f"{name} ({type(attention).__name__}) does not call transformers' attention interface: it "
                "computes all queries of a batch at once and cannot skip any; leave it out by `only`, or set "
                "parts=('feed_forward',)"
            )
    if parts:
        sparse_implementation(model.config._attn_implementation)
