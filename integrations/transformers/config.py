"""`SMAConfig`: a model's spec as a configuration of transformers."""

import json
import os
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

from pydantic import ValidationError
from typing_extensions import override

from sma.architectures.files.yaml import parse_spec
from sma.architectures.models.sequence import SequenceModelSpec
from sma.spec.base import Spec, walk
from sma.spec.errors import one_line
from sma.spec.registry import package_of
from sma.transformers.remote_code import AUTO_MAP, write_remote_code
from transformers import PreTrainedConfig


class SMAConfig(PreTrainedConfig):
    """Configuration of every model of `sma.transformers`: the spec that builds it, as JSON values.

    What transformers calls `vocab_size`, `hidden_size` and `num_hidden_layers` is read from the spec and can
    only be changed there.

    Args:
        spec: a `SequenceModelSpec`, or what `sma.architectures.parse_spec` reads: a mapping with a `kind`, or
            with a `preset` and its options.
        plug_ins: by kind, the package or module that defines it, for kinds that are not of this project.
            Written here by the configuration itself, for the error where they are missing. Installed packages
            register theirs; a module of one's own must be imported first.
        pad_token_id: of padding.
        bos_token_id: of the first token of a text.
        eos_token_id: of the token that ends a text.
        kwargs: further fields of `transformers.PreTrainedConfig`, such as `id2label`.

    Raises:
        ValueError: if the spec is missing, wrong or of another kind than `sequence_model`, has kinds that are
            not known here, or a head with another number of classes than `num_labels` or `id2label`.

    Example:
        >>> from sma.architectures import seqboat
        >>> config = SMAConfig(spec=seqboat(vocab_size=256, d_model=16, n_layers=2))
        >>> config.vocab_size, config.hidden_size, config.num_hidden_layers
        (256, 16, 2)
        >>> SMAConfig.from_dict(config.to_dict()).spec == config.spec
        True
    """

    model_type = "sma"
    keys_to_ignore_at_inference: ClassVar[list[str]] = ["past_key_values"]

    spec: Any = None
    plug_ins: Any = None
    pad_token_id: Any = None
    bos_token_id: Any = None
    eos_token_id: Any = None
    id2label: Any = None
    label2id: Any = None

    def __post_init__(self, **kwargs: Any) -> None:
        spec = _parsed(self.spec, self.plug_ins)
        self.spec = spec.model_dump(mode="json")
        self.plug_ins = _plug_ins(spec)
        self.tie_word_embeddings = False  # the spec says so, and the head shares the embedding by itself
        n_classes = getattr(spec.head, "n_classes", None)
        if n_classes is not None:
            _check_labels(n_classes, kwargs.get("num_labels"), self.id2label)
            kwargs["num_labels"] = n_classes
        kwargs.pop("tie_word_embeddings", None)
        for name in _OF_THE_SPEC:
            given = kwargs.pop(name, None)
            if given is not None and given != getattr(self, name, None):
                setattr(self, name, given)  # is refused
        super().__post_init__(**kwargs)
        if self.label2id is None:
            self.label2id = {name: i for i, name in self.id2label.items()}
        self.auto_map = dict(AUTO_MAP)

    @property
    def model_spec(self) -> SequenceModelSpec:
        """The spec, parsed."""
        return _parsed(self.spec, self.plug_ins)

    @property
    def vocab_size(self) -> int | None:
        """The number of tokens; None if the model reads something else."""
        return getattr(self.model_spec.embedding, "vocab_size", None)

    @property
    def hidden_size(self) -> int:
        """D, the width of the model."""
        return self.model_spec.d_model

    @property
    def num_hidden_layers(self) -> int:
        """The number of the model's blocks; a stack is one."""
        return sum(block.repeat for block in self.model_spec.blocks)

    def with_head(self, **head: Any) -> "SMAConfig":
        """The same configuration with another head, such as `kind="classifier", n_classes=3`.

        A model that is loaded with it takes all weights but the head's, which are new.

        Example:
            >>> from sma.architectures import seqboat
            >>> config = SMAConfig(spec=seqboat(vocab_size=256, d_model=16, n_layers=2))
            >>> config.with_head(kind="classifier", n_classes=3).num_labels
            3
        """
        tokens = ("pad_token_id", "bos_token_id", "eos_token_id", "dtype")
        kept = {name: getattr(self, name) for name in tokens}
        return SMAConfig(spec=self.spec | {"head": head}, **kept)

    @override
    def __setattr__(self, key: str, value: Any) -> None:
        if key in _OF_THE_SPEC:
            raise ValueError(f"{key}={value!r} is read from the spec; set {_OF_THE_SPEC[key]} of config.spec")
        super().__setattr__(key, value)

    @override
    def save_pretrained(
        self, save_directory: str | os.PathLike[str], push_to_hub: bool = False, **kwargs: Any
    ) -> None:
        """Write config.json, and the file by which transformers finds these classes."""
        super().save_pretrained(save_directory, push_to_hub, **kwargs)
        write_remote_code(Path(save_directory))


_OF_THE_SPEC = {
    "vocab_size": "embedding.vocab_size",
    "hidden_size": "d_model",
    "num_hidden_layers": "blocks",
}
"""Properties of the configuration, and the fields of the spec that they are read from."""


def _parsed(values: Any, plug_ins: Any) -> SequenceModelSpec:
    """The spec in a configuration; reading it again costs nothing."""
    if isinstance(values, Spec):
        values = values.model_dump(mode="json")
    if values is None:
        raise ValueError(
            "spec is missing; give SMAConfig a spec, such as SMAConfig(spec=seqboat(...)), or load a folder "
            "that save_pretrained or `sma export` has written"
        )
    try:
        return _read(json.dumps(values))
    except ValidationError as error:
        reason = one_line(error)
    except (TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
    known = "; ".join(
        f"the kind {kind!r} is from {origin!r}: install that, or import it first"
        for kind, origin in (plug_ins or {}).items()
        if repr(kind) in reason
    )
    raise ValueError(f"spec: {reason}{f'; {known}' if known else ''}") from None


@lru_cache(maxsize=32)
def _read(text: str) -> SequenceModelSpec:
    spec = parse_spec(json.loads(text))
    if not isinstance(spec, SequenceModelSpec):
        raise ValueError(
            f"kind {spec.kind!r} is not a sequence_model; transformers' classes hold only those, other "
            "models go to the Hub with sma.transformers.hub.push"
        )
    return spec


def _plug_ins(spec: Spec) -> dict[str, str]:
    """By kind, the package or module of every kind in a spec that is not of this project."""
    others = [type(part) for _, part in walk(spec) if not type(part).__module__.startswith("sma.")]
    return {part.model_fields["kind"].default: package_of(part) or part.__module__ for part in others}


def _check_labels(n_classes: int, num_labels: int | None, id2label: Any) -> None:
    for name, given in (("num_labels", num_labels), ("id2label", id2label and len(id2label))):
        if given is not None and given != n_classes:
            raise ValueError(
                f"{name} gives {given} labels, but the head of the spec has n_classes={n_classes}; set one "
                "to the other, such as by config.with_head(kind='classifier', n_classes=...)"
            )
