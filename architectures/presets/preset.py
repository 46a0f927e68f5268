"""Presets of sequence models: functions that make blocks, and the one function from blocks to a model."""

import inspect
from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import dataclass
from functools import cached_property, update_wrapper
from typing import Annotated, Any, TypeVar, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from typing_extensions import override

from sma import Spec
from sma.architectures.models.embeddings import FeaturesSpec, TokensSpec
from sma.architectures.models.heads import ClassifierSpec, LanguageModelSpec
from sma.architectures.models.sequence import SequenceModelSpec
from sma.architectures.specs.families import BlockSpec, EmbeddingSpec, HeadSpec, NormSpec
from sma.architectures.specs.fields import WHOLE, Size
from sma.architectures.specs.norms import LayerNormSpec
from sma.checks import near
from sma.spec.bounds import MAX_BLOCKS
from sma.spec.errors import plain

S = TypeVar("S", bound=Spec)
Blocks = tuple[BlockSpec, ...]
Layers = Annotated[int, Field(ge=1, le=MAX_BLOCKS), WHOLE]
Borrowed = Mapping[type[Spec], str]
"""By spec, the names of its fields that are options of a preset, with spaces between."""


def sequence_model(
    blocks: Blocks,
    *,
    d_model: int,
    vocab_size: int | None = None,
    d_input: int | None = None,
    n_classes: int | None = None,
    norm: NormSpec | None = None,
    dropout: float = 0.0,
) -> SequenceModelSpec:
    """A stack of blocks between the embedding and the head that fit a task.

    Args:
        blocks: from input to output.
        d_model: D.
        vocab_size: of token inputs.
        d_input: width of feature inputs, where there is no `vocab_size`.
        n_classes: of a classifier with mean pooling; None for a language model with tied embedding.
        norm: after the last block, or None.
        dropout: on the embedding.

    Raises:
        ValueError: unless exactly one of `vocab_size` and `d_input` is given.

    Example:
        >>> from sma.architectures import seqboat_block
        >>> sequence_model((seqboat_block(n_layers=4),), d_model=64, d_input=1, n_classes=10).head.kind
        'classifier'
    """
    if (vocab_size is None) == (d_input is None):
        raise ValueError(
            f"give either vocab_size (tokens) or d_input (features), got vocab_size={vocab_size} and "
            f"d_input={d_input}"
        )
    embedding: EmbeddingSpec
    if vocab_size is not None:
        embedding = TokensSpec(vocab_size=vocab_size, scale=n_classes is None, dropout=dropout)
    else:
        embedding = FeaturesSpec(d_input=d_input, dropout=dropout)
    head: HeadSpec = LanguageModelSpec() if n_classes is None else ClassifierSpec(n_classes=n_classes)
    return SequenceModelSpec(d_model=d_model, embedding=embedding, blocks=blocks, norm=norm, head=head)


@dataclass(frozen=True)
class Chosen:
    """The chosen options of a preset.

    Attributes:
        n_layers: how many layers.
        bidirectional: whether blocks may look ahead.
        fields: the borrowed fields that were given, by name.
        borrowed: see `Preset`.
    """

    n_layers: int
    bidirectional: bool
    fields: Mapping[str, Any]
    borrowed: Borrowed

    def spec(self, kind: type[S], **others: Any) -> S:
        """A spec with the fields that were given for it, and others."""
        given = {
            name: self.fields[name] for name in self.borrowed.get(kind, "").split() if name in self.fields
        }
        return kind(**{**others, **given})


class Preset:
    """A known architecture: a function that makes its blocks, called to make a model's spec.

    Args:
        function: called with what was `Chosen` and the options that it names itself, `d_model` among them
            where it needs it; returns the blocks.
        borrowed: the options that are fields of specs.
        norm: after the last block, where no other `norm` is given and the blocks are not post-norm.
    """

    __name__: str

    def __init__(self, function: Callable[..., Blocks], borrowed: Borrowed, norm: NormSpec) -> None:
        update_wrapper(self, function)
        self._function = function
        self._borrowed = borrowed
        self._norm = norm
        fields = "; ".join(f"of `{kind.__name__}` {names}" for kind, names in borrowed.items())
        more = f"\n\n    Options that are fields: {fields}." if borrowed else ""
        self.__doc__ = f"{function.__doc__}{more}\n\n    See `Preset.__call__` for what all presets share."

    @override
    def __repr__(self) -> str:
        return f"<preset {self.__name__}>"

    def __call__(
        self,
        *,
        d_model: int,
        n_layers: int,
        vocab_size: int | None = None,
        d_input: int | None = None,
        n_classes: int | None = None,
        bidirectional: bool | None = None,
        **options: Any,
    ) -> SequenceModelSpec:
        """The spec of a causal language model, or of a bidirectional classifier; `.build()` makes the model.

        Args:
            d_model: D.
            n_layers: depth.
            vocab_size: see `sequence_model`, as for `d_input` and `n_classes`.
            d_input: width of feature inputs.
            n_classes: of a classifier; None for a language model.
            bidirectional: whether blocks look ahead; None for those of a classifier alone.
            **options: of this preset.

        Raises:
            TypeError: for an option that the preset has not.
            pydantic.ValidationError: for a wrong value; it names the option.
            ValueError: unless exactly one of `vocab_size` and `d_input` is given.
        """
        given = {**options, "d_model": d_model, "n_layers": n_layers, "bidirectional": bidirectional}
        given |= {"vocab_size": vocab_size, "d_input": d_input, "n_classes": n_classes}
        checked = self._checked(self.options, given)
        if checked["bidirectional"] is None:
            checked["bidirectional"] = n_classes is not None
        post_norm = checked.get("norm_position") == "post"
        return sequence_model(
            self._blocks(checked),
            norm=None if post_norm else checked.get("norm", self._norm),
            dropout=checked.get("dropout", 0.0),
            **{name: checked[name] for name in ("d_model", "vocab_size", "d_input", "n_classes")},
        )

    def blocks(self, **options: Any) -> Blocks:
        """The blocks alone; causal unless `bidirectional` is True.

        Args:
            **options: of this preset; `n_layers` is 1 by default, and `d_model` is only needed, and only
                known, where the function that makes the blocks asks for it.
        """
        return self._blocks(self._checked(self._block_options, options))

    @cached_property
    def options(self) -> type[BaseModel]:
        """The type that checks the options of `__call__`."""
        first: dict[str, Any] = {"d_model": (Size, ...), "n_layers": (Layers, ...)}
        ends: dict[str, Any] = dict.fromkeys(("vocab_size", "d_input", "n_classes"), (Size | None, None))
        last: dict[str, Any] = {"bidirectional": (bool | None, None)}
        return self._type({**first, **self._own, **self._fields, **ends, **last})

    @cached_property
    def _block_options(self) -> type[BaseModel]:
        """The type that checks the options of `blocks`."""
        shared: dict[str, Any] = {"n_layers": (Layers, 1), "bidirectional": (bool, False)}
        return self._type({**self._own, **self._fields, **shared})

    @property
    def __signature__(self) -> inspect.Signature:
        """That of `__call__`, with the options written out."""
        fields = self.options.model_fields.items()
        empty = inspect.Parameter.empty
        parameters = [
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=empty if field.is_required() else field.default,
                annotation=field.annotation,
            )
            for name, field in fields
        ]
        return inspect.Signature(parameters, return_annotation=SequenceModelSpec)

    @cached_property
    def _own(self) -> dict[str, Any]:
        """The options that the function names itself."""
        own = own_options(self._function)
        return {name: own[name] for name in list(own)[1:]}

    @property
    def _fields(self) -> dict[str, Any]:
        pairs = [(kind, name) for kind, names in self._borrowed.items() for name in names.split()]
        fields = {name: copy(kind.model_fields[name]) for kind, name in pairs}
        return {name: (field.annotation, field) for name, field in fields.items()}

    def _type(self, fields: dict[str, Any]) -> type[BaseModel]:
        return options_type(self.__name__, fields)

    def _checked(self, options: type[BaseModel], given: Mapping[str, Any]) -> dict[str, Any]:
        for name in given:
            if name not in options.model_fields:
                raise TypeError(
                    f"{self.__name__}: there is no option {name!r}{near(name, options.model_fields)}"
                )
        try:
            checked = options.model_validate(given)
        except ValidationError as error:
            raise plain(options, error) from None
        needed = {*self._own, "d_model", "vocab_size", "d_input", "n_classes", "n_layers", "bidirectional"}
        return {name: value for name, value in checked if name in checked.model_fields_set or name in needed}

    def _blocks(self, checked: Mapping[str, Any]) -> Blocks:
        names = {name for names in self._borrowed.values() for name in names.split()}
        fields = {name: value for name, value in checked.items() if name in names}
        chosen = Chosen(checked["n_layers"], checked["bidirectional"], fields, self._borrowed)
        return self._function(chosen, **{name: checked[name] for name in self._own})


def preset(
    borrowed: Borrowed | None = None, *, norm: NormSpec | None = None
) -> Callable[[Callable[..., Blocks]], Preset]:
    """Make a function of blocks a `Preset`."""
    return lambda function: Preset(function, borrowed or {}, LayerNormSpec() if norm is None else norm)


def own_options(function: Callable[..., Any]) -> dict[str, Any]:
    """Type and default of each argument of a function, as pydantic's `create_model` takes them."""
    hints = get_type_hints(function, include_extras=True)
    parameters = inspect.signature(function).parameters.values()
    return {p.name: (hints[p.name], ... if p.default is p.empty else p.default) for p in parameters}


def options_type(name: str, fields: dict[str, Any]) -> type[BaseModel]:
    """A model that checks options."""
    config = ConfigDict(extra="forbid", allow_inf_nan=False)
    made: type[BaseModel] = create_model(name, __config__=config, **fields)
    return made
