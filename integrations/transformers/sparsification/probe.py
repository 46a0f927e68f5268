"""The promise that a model starts as it was, tried on a few tokens; a model that does not is put back."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import override

from sma.checks import describe
from sma.modules.routers.fixed import AlwaysActive
from sma.routing import Routing
from sma.transformers.sparsification.find_parts import FoundPart
from sma.transformers.sparsification.routed_layer import routed_parts
from sma.transformers.sparsification.selection import Reading, reading

Inputs = dict[str, Tensor]
LEAVE_OUT = "leave it out by `only`, or name other parts by `named`"


@contextmanager
def starting_as_before(model: Any, parts: Sequence[FoundPart]) -> Iterator[None]:
    """Inside, parts of a model are put behind routers; afterwards it computes the same, or is put back.

    The model's body reads two rows of a few tokens, one of them padded, before and after, in evaluation mode
    and without gradients; random states stay as they are. Before, every part must be called once, in the way
    of its kind; after, with all tokens active, every router must be asked once, and the hidden states must be
    equal up to rounding. Models whose weights are on the meta device, and those that do not read token ids
    alone, are not tried.

    Args:
        model: of transformers.
        parts: those that are put behind routers.

    Raises:
        ValueError: if the model does not compute the same. It is then what it was, as after any error inside.
    """
    inputs = _inputs(model)
    before = None if inputs is None else _dense(model, parts, inputs)
    put_back = _snapshot(model)
    try:
        yield
        if inputs is not None and before is not None:
            _compare(model, before, inputs)
    except BaseException:
        put_back()
        raise


def is_causal(model: Any) -> bool:
    """Whether an attention of the model says that a token sees none after it."""
    return any(getattr(module, "is_causal", False) for module in model.modules())


def looks_ahead(model: Any) -> bool:
    """Whether the first token depends on the last; also said of a model that cannot be tried."""
    inputs = _inputs(model)
    if inputs is None:
        return True
    ids = inputs["input_ids"].clone()
    ids[0, -1] = ids[0, 0]
    try:
        first, second = (_run(model, each)[0, 0] for each in (inputs, {**inputs, "input_ids": ids}))
    except Exception:  # images or another sequence are missing
        return True
    return not torch.equal(first, second)


@dataclass
class _Calls:
    """The calls of a module: the tensors that each is given, and what it returns."""

    given: list[list[Tensor]] = field(default_factory=list)
    returned: list[Any] = field(default_factory=list)

    def note(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        given = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
        self.given.append(given)
        self.returned.append(result)


class _Asked(AlwaysActive):
    """Activates every token, and notes when it is asked."""

    def __init__(self) -> None:
        super().__init__(1)
        self.calls: list[Tensor] = []

    @override
    def forward(self, x: Tensor, mask: Tensor | None = None) -> Routing:
        self.calls.append(x)
        return super().forward(x, mask)


def _inputs(model: Any) -> Inputs | None:
    """Two rows of token ids, the second with padding on the right; None if there are no weights."""
    if any(parameter.is_meta for parameter in model.parameters()):
        return None
    device = next(model.parameters()).device
    vocab_size = getattr(model.config.get_text_config(), "vocab_size", 0) or sys.maxunicode  # CANINE's
    length = 2 * (getattr(model.config, "chunk_size_feed_forward", 0) or 3)
    ids = (vocab_size // 2 + torch.arange(2 * length, device=device)).view(2, length) % vocab_size
    mask = torch.ones_like(ids)
    mask[1, -2:] = 0
    return {"input_ids": ids, "attention_mask": mask}


def _dense(model: Any, parts: Sequence[FoundPart], inputs: Inputs) -> Tensor | None:
    """The hidden states before; None if the model does not read token ids alone."""
    body, checked = model.base_model, [each for part in parts for each in (part, *part.inner)]
    calls = {place: _Calls() for part in checked for place in part.places}
    with ExitStack() as stack:
        for name, noted in calls.items():
            handle = body.get_submodule(name).register_forward_hook(noted.note, with_kwargs=True)
            stack.callback(handle.remove)
        try:
            hidden = _run(model, inputs)
        except Exception:  # images or another sequence are missing
            return None
    for part in checked:
        for place in part.places:
            _check_call(model, part, place, calls[place], inputs["input_ids"].shape)
    return hidden


def _check_call(model: Any, part: FoundPart, place: str, calls: _Calls, shape: torch.Size) -> None:
    """Raise ValueError unless a module is called once, in the way of its kind of part."""
    n_calls = len(calls.given)
    if not n_calls:
        raise ValueError(
            f"{place} ({part.part}) is not called when {type(model).__name__} reads tokens; {LEAVE_OUT}"
        )
    if n_calls > 1:
        raise ValueError(
            f"{place} ({part.part}) is called {n_calls} times in one pass of {type(model).__name__}: layers "
            "share it, or it is given pieces of a sequence (chunk_size_feed_forward), and one router cannot "
            f"decide for these; {LEAVE_OUT}"
        )
    given, returned = calls.given[0], calls.returned[0]
    if not _fits(part, place, given, returned, (*shape, part.d_model)):
        module, tensors = (
            type(model.base_model.get_submodule(place)).__name__,
            ", ".join(map(describe, given)),
        )
        raise ValueError(
            f"{place} ({module}) cannot be routed as {part.part}: it must map {(*shape, part.d_model)} "
            f"(B, L, D) to the same, but is called with {tensors or 'no tensor'} and "
            f"returns {describe(returned)}; {LEAVE_OUT}"
        )


def _fits(part: FoundPart, place: str, given: list[Tensor], returned: Any, wanted: tuple[int, ...]) -> bool:
    """Whether a call is that of a feed-forward, of the first or second of its modules, or of what reads x."""
    if part.part != "feed_forward":
        return bool(given) and given[0].shape == wanted
    if len(part.places) == 1:
        return len(given) == 1 and given[0].shape == wanted == getattr(returned, "shape", None)
    is_second = place == part.places[1]
    return len(given) == 1 + is_second and given[-1].shape == wanted and isinstance(returned, Tensor)


def _compare(model: Any, before: Tensor, inputs: Inputs) -> None:
    """Raise ValueError unless every router is asked once, and the hidden states are those of before."""
    name, routed = type(model).__name__, routed_parts(model)
    routers = {part_name: part.router for part_name, part in routed.items()}
    asked = {part_name: _Asked() for part_name in routed}
    try:
        for part_name, part in routed.items():
            part.router = asked[part_name]
        after = _run(model, inputs)
    except Exception as error:
        line = " ".join(f"{type(error).__name__}: {error}".split())
        raise ValueError(f"{name} fails with routed parts ({line}); sparsify other parts of it") from error
    finally:
        for part_name, part in routed.items():
            part.router = routers[part_name]
    for part_name, router in asked.items():
        if len(router.calls) != 1:
            raise ValueError(
                f"{part_name} asks its router {len(router.calls)} times in one pass of {name}; {LEAVE_OUT}"
            )
    if before.shape[:2] == inputs["attention_mask"].shape:  # what is computed of padding counts for nothing
        real = inputs["attention_mask"].bool().to(before.device)
        before, after = before[real], after[real]
    size = max(1.0, before[before.isfinite()].abs().max().item())
    dtypes = {before.dtype, *(parameter.dtype for parameter in model.parameters())}
    eps = max(torch.finfo(dtype).eps for dtype in dtypes)
    tolerance = min(100 * eps, eps**0.5) * size
    if not torch.allclose(before, after, rtol=0, atol=tolerance, equal_nan=True):
        raise ValueError(
            f"{name} with routed parts computes something else, by {(before - after).abs().max().item():.2g} "
            "with all tokens but padding active: parts are not what they are taken for, or padding enters; "
            "sparsify other parts of it"
        )


def _run(model: Any, inputs: Inputs) -> Tensor:
    """The hidden states of a model's body, without a trace in the model or in random states.

    Some models change themselves when they are called, such as BigBird, by the length of what it reads.
    """
    devices = {p.device.index for p in model.parameters() if p.device.type == "cuda"}
    call, put_back = Reading(inputs["attention_mask"].bool()), _snapshot(model)
    try:
        model.eval()
        with torch.no_grad(), torch.random.fork_rng(devices=sorted(devices)), reading(call):
            hidden: Tensor = model.base_model(**inputs)[0]
    finally:
        put_back()
    return hidden


def _snapshot(model: Any) -> Callable[[], None]:
    """A function that takes back what was done since to a model's structure and configuration."""
    modules = [(m, type(m), dict(m.__dict__), dict(m._modules)) for m in model.modules()]
    configs = {id(m.config): m.config for m, *_ in modules if hasattr(m, "config")}
    settings = [(config, dict(config.__dict__)) for config in configs.values()]

    def put_back() -> None:
        for module, module_class, attributes, children in modules:
            module.__class__ = module_class
            _fill(module.__dict__, attributes)
            _fill(module._modules, children)
        for config, values in settings:
            _fill(config.__dict__, values)

    return put_back


def _fill(values: dict[str, Any], wanted: dict[str, Any]) -> None:
    values.clear()
    values.update(wanted)
