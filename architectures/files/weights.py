"""The weights of a model as a file holds them: which there are, and whether their values can be used."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
COMPLEX = (torch.complex64, torch.complex128)
_WRAPPERS = ("_orig_mod", "_checkpoint_wrapped_module")
"""Names of the one part in the wrappers of `torch.compile` and of torch's activation checkpointing."""


def own_tensors(model: nn.Module) -> dict[str, Any]:
    """The state dict without what wrappers add to the names, shared tensors under their first name only."""
    seen: dict[int, str] = {}
    state = model.state_dict(keep_vars=True)
    return {unwrapped(n): t for n, t in state.items() if seen.setdefault(id(t), n) == n}


def unwrapped(name: str) -> str:
    """A dotted name without the wrappers in it."""
    return ".".join(part for part in name.split(".") if part not in _WRAPPERS)


def fill(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Put checked tensors into a model, each in its own dtype; on the meta device, they themselves.

    Buffers that are not saved take the dtype of the weights, where there is only one.
    """
    state: dict[str, Tensor] = model.state_dict(keep_vars=True)
    names = {unwrapped(name): name for name in reversed(state)}  # the first of those that are shared
    convert: list[tuple[Tensor, torch.dtype]] = [
        (state[names[name]], tensor.dtype) for name, tensor in tensors.items()
    ]
    dtypes = {tensor.dtype for tensor in tensors.values() if tensor.is_floating_point()}
    if len(dtypes) == 1:
        others = {name: x for name, x in model.named_buffers() if x.is_floating_point() and name not in state}
        convert += [(buffer, next(iter(dtypes))) for buffer in others.values()]
    for own, dtype in convert:
        own.data = own.data.to(dtype)
    assign = any(own.is_meta for own, _ in convert)
    model.load_state_dict({names[n]: t for n, t in tensors.items()}, strict=False, assign=assign)


def check_names(tensors: Mapping[str, Tensor], own: Mapping[str, Tensor], complaint: str) -> None:
    """Raise ValueError unless the names and shapes in a file are those in a model."""
    wrong = [
        f"{name} ({_shape(tensors.get(name))} in the file, {_shape(own.get(name))} in the model)"
        for name in sorted(own.keys() | tensors.keys())
        if name not in own or name not in tensors or own[name].shape != tensors[name].shape
    ]
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise ValueError(f"{complaint}: {', '.join(wrong[:3])}{more}")


def check_value(name: str, tensor: Tensor, own: Tensor, where: str = "") -> None:
    """Raise ValueError unless a tensor may take the place of a model's own, in dtype and value.

    It must be floating point where the model's is, in a dtype that torch computes in, else of the same dtype;
    and finite.
    """
    check_dtype(name, tensor, own, where)
    _check_finite(name, tensor, where, "weights from before they became infinite or NaN")


def check_state_value(name: str, tensor: Tensor, own: Tensor, where: str = "") -> None:
    """Raise ValueError unless a tensor may take the place of `own` in a decoding state.

    NaN never may. What is finite, or not negative, in a fresh state stays so in every other.
    """
    check_dtype(name, tensor, own, where)
    instead = "a state from before it became infinite or NaN"
    fresh_is_finite = bool(own.isfinite().all())
    _check_finite(name, tensor if fresh_is_finite else tensor.nan_to_num(torch.nan, 0, 0), where, instead)
    if tensor.dtype == torch.long and (tensor.amin() if tensor.numel() else 0) < 0 <= own.amin():
        raise ValueError(
            f"{where}{name} is {int(tensor.min())} somewhere, and counts, so it cannot be negative; take "
            "another state"
        )


def _check_finite(name: str, tensor: Tensor, where: str, instead: str) -> None:
    finite = tensor.isfinite()
    if not finite.all():
        raise ValueError(
            f"{where}{name} is not finite at {int((~finite).sum())} of {tensor.numel()} places; take "
            f"{instead}"
        )


def check_dtype(name: str, tensor: Tensor, own: Tensor, where: str = "") -> None:
    """Raise ValueError unless a tensor is of a kind of numbers that may take the place of `own`."""
    wanted = own.dtype
    allowed = FLOATS if wanted.is_floating_point else COMPLEX if wanted.is_complex else (wanted,)
    if tensor.dtype not in allowed:
        raise ValueError(
            f"{where}{name} is {_name(tensor.dtype)}, which its model does not compute in; convert it to "
            f"{' or '.join(map(_name, allowed))}"
        )


def check_as_built(model: nn.Module, built: nn.Module) -> None:
    """Raise ValueError where a model is not what its spec builds, so that a file could not give it back.

    Args:
        model: with its weights.
        built: by the same spec; on the meta device.

    Raises:
        ValueError: with the name of the part or tensor, and what to do about it.
    """
    for name, tensor in own_tensors(model).items():
        _check_plain(name, tensor)
    _check_tied(model)
    expected = dict(built.named_modules())
    for name, module in model.named_modules():
        if not any(wrapper in module._modules for wrapper in _WRAPPERS):
            _check_module(unwrapped(name), module, expected.pop(unwrapped(name), None))
    if expected:
        raise ValueError(
            f"{next(iter(expected))} is missing in the model, but its spec builds it; put it back"
        )
    mine, theirs = own_tensors(model), own_tensors(built)
    for name in sorted(mine.keys() ^ theirs.keys()):
        told = "the model has, but its spec does not build" if name in mine else "its spec builds, on its own"
        raise ValueError(f"{name} is a tensor that {told}; save the model before its tensors are changed")
    for name, tensor in mine.items():
        if tensor.shape != theirs[name].shape:
            raise ValueError(
                f"{name} is {_shape(tensor)}, but the model's spec builds {_shape(theirs[name])}; give the "
                "model a spec with its sizes"
            )
        check_value(name, tensor.detach(), theirs[name])


def check_is_tensor(name: str, value: Any) -> None:
    """Raise ValueError if an entry of a state dict is something else, as those of quantised layers are."""
    if not isinstance(value, Tensor):
        raise ValueError(
            f"{name} holds {type(value).__name__} instead of a tensor; save the model before it is "
            "quantised, or save such values on their own"
        )


def _check_plain(name: str, tensor: Any) -> None:
    check_is_tensor(name, tensor)
    if type(tensor.detach()) is not Tensor:
        kind = type(tensor.detach()).__name__
        remedy = (
            "gather it with its full_tensor()"
            if kind == "DTensor"
            else "save the model before it is made one"
        )
        raise ValueError(f"{name} is a {kind}, not a plain tensor; {remedy}")
    if tensor.layout != torch.strided:
        raise ValueError(f"{name} is stored as {tensor.layout}; make it dense by to_dense()")
    if tensor.is_meta:
        raise ValueError(f"{name} is on the meta device and has no values; load weights first")


def _check_module(name: str, module: nn.Module, wanted: nn.Module | None) -> None:
    if wanted is not None and _form(module) == _form(wanted):
        return
    remedy = _remedy(name, module)
    if remedy is not None:
        raise ValueError(
            f"{name or 'the model'} computes a weight from other tensors, which its spec does not build; "
            f"{remedy}"
        )
    kind = f"{type(module).__module__}.{type(module).__qualname__}"
    if wanted is None:
        raise ValueError(
            f"{name} is a {kind} that the model's spec does not build, and would not be there after loading; "
            "merge or remove it before saving"
        )
    if type(module) is not type(wanted):
        raise ValueError(
            f"{name or 'the model'} is a {kind}, but its spec builds a {type(wanted).__qualname__}, which "
            "loading would put there; save the model before its parts are replaced"
        )


def _form(module: nn.Module) -> tuple[type, frozenset[str]]:
    """The class of a part, without the one that a parametrization makes for it alone, and its own tensors."""
    kind = type(module).__bases__[0] if parametrize.is_parametrized(module) else type(module)
    return kind, frozenset((*module._parameters, *module._buffers))


def _check_tied(model: nn.Module) -> None:
    shared = getattr(getattr(model, "head", None), "embedding", None)
    if shared is not None and all(shared is not module for module in model.modules()):
        raise ValueError(
            "head shares the weights of an embedding which is not in the model; build the head anew, of the "
            "model's embedding"
        )


def _remedy(name: str, module: nn.Module) -> str | None:
    """How to make a part what its spec builds, where torch has put something else for its weight."""
    where = f"model.{name}" if name else "model"
    if parametrize.is_parametrized(module):
        weight = next(iter(module.parametrizations))  # type: ignore[arg-type]
        return f"call torch.nn.utils.parametrize.remove_parametrizations({where}, {weight!r})"
    held = {*module._parameters, *module._buffers}
    for one in sorted(held):
        weight = one.rsplit("_", 1)[0]
        if f"{weight}_orig" in held:
            remove = "prune.remove" if f"{weight}_mask" in held else "remove_spectral_norm"
            return f"call torch.nn.utils.{remove}({where}, {weight!r})"
        if {f"{weight}_g", f"{weight}_v"} <= held:
            return f"call torch.nn.utils.remove_weight_norm({where}, {weight!r})"
    return None


def _shape(tensor: Any) -> str:
    return "missing" if tensor is None else str(tuple(tensor.shape))


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
