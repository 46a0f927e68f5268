"""Limits of models that their documentation names."""

from dataclasses import dataclass

from torch import nn

_RIGHT = "Pad inputs on the right because {} uses absolute position embeddings."


@dataclass(frozen=True)
class Limit:
    """A property that models do not have, as their documentation says.

    Attributes:
        model_types: of configurations of transformers; empty: of all.
        properties: by name.
        says: the documentation, in its words.
        where: it stands.
    """

    model_types: tuple[str, ...]
    properties: tuple[str, ...]
    says: str
    where: str


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
        (),
        ("packed rows",),
        "Make sure your attention computation is able to handle it!",
        "DataCollatorWithFlattening",
    ),
)
"""The first that fits is taken."""


def documented(model: nn.Module, name: str) -> str | None:
    """What a model's documentation says of a property that it does not have; None: nothing."""
    kind = getattr(getattr(model, "config", None), "model_type", None)
    for limit in LIMITS:
        if kind is not None and name in limit.properties and kind in (limit.model_types or (kind,)):
            return f'documented ({limit.where}): "{limit.says}"'
    return None
