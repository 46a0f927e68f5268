"""Limits of architectures: what their documentation names, and what they do not offer."""

import copy
import sys
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from sma.testing.black_box.properties.property import Property
from sma.testing.black_box.searching import search
from sma.testing.black_box.subject import Subject, copied

_RIGHT = "Pad inputs on the right because {} uses absolute position embeddings."


@dataclass(frozen=True)
class Limit:
    """A property that an architecture does not have.

    Attributes:
        model_types: of configurations of transformers.
        properties: by name.
        says: the documentation, in its words; or why there is no support for it.
        where: it stands in the documentation; empty: it does not.
    """

    model_types: tuple[str, ...]
    properties: tuple[str, ...]
    says: str
    where: str = ""


LIMITS: tuple[Limit, ...] = (
    Limit(("gpt2",), ("left padding",), _RIGHT.format("GPT-2"), "page of GPT-2"),
    Limit(("gpt_neo",), ("left padding",), _RIGHT.format("GPT-Neo"), "page of GPT-Neo"),
    Limit(
        ("bert",),
        ("left padding",),
        "Inputs should be padded on the right because BERT uses absolute position embeddings.",
        "page of BERT",
    ),
    Limit(
        ("albert",),
        ("left padding",),
        "ALBERT is a model with absolute position embeddings so it's usually advised to pad the inputs on "
        "the right rather than the left.",
        "page of ALBERT",
    ),
    Limit(
        ("roberta", "xlm-roberta", "camembert"),
        ("padding's content",),
        "Replace non-padding symbols with their position numbers. Padding symbols are ignored.",
        "create_position_ids_from_input_ids",
    ),
    Limit(
        ("rwkv",),
        ("right padding", "left padding", "padding's content", "decoding, left padding"),
        "`attention_mask` was passed, but it is unused in this model.",
        "the model's warning",
    ),
    Limit(
        ("bamba",),
        ("packed rows",),
        "Padding-free training requires the flash-attn, mamba-ssm, and causal-conv1d packages",
        "page of Bamba",
    ),
    Limit(
        ("recurrent_gemma", "jamba", "zamba2", "falcon_h1", "qwen3_next", "lfm2"),
        ("packed rows",),
        "its recurrent and convolutional layers take no positions, so what was before reaches them",
    ),
)
"""The first that fits is taken."""


_LACKS = "not supported by this architecture"
_TRIED = 10
"""Inputs on which it is tried whether an architecture offers what a property needs."""


def limit_of(of: Property, subject: Subject) -> str | None:
    """Why a model need not have a property that it does not have; None: nothing says so."""
    kind = getattr(getattr(subject.model, "config", None), "model_type", None)
    for limit in LIMITS:
        if of.name in limit.properties and kind in limit.model_types:
            return f'documented ({limit.where}): "{limit.says}"' if limit.where else f"{_LACKS}: {limit.says}"
    return _unsupported(of, subject)


def _unsupported(of: Property, subject: Subject) -> str | None:
    """What the architecture lacks, as its own class shows: the model may be a subclass with a fault."""
    unsupported, architecture = of.unsupported(), _architecture(type(subject.model))
    if unsupported is None or architecture is None:
        return None
    lack, says = unsupported
    if lack.missing(subject) is not None:
        return None
    if type(subject.model) is not architecture:
        config: Any = subject.model.config
        plain = copied(architecture(copy.deepcopy(config)), torch.float32)
        subject = replace(subject, model=plain)
    seen = search(lack, subject, _TRIED)
    if seen.trial is not None or seen.n_refused:
        return None
    return f"{_LACKS}: {says}"


def _architecture(model_class: type[nn.Module]) -> Any:
    """The class of transformers that a model's class is or extends; None for other models."""
    for base in model_class.__mro__:
        module = sys.modules.get(base.__module__)
        if (
            base.__module__.startswith("transformers.models.")
            and getattr(module, base.__name__, None) is base
        ):
            return base
    return None
