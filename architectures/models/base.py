"""The base of whole models and of their specs, and the check that a model can be built."""

from abc import abstractmethod
from typing import Annotated, Any

from pydantic import Field, model_validator
from torch import nn

import sma
from sma import OneOf, SequenceModule, Spec
from sma.architectures.blocks.stack import Blocks
from sma.architectures.specs.families import (
    BlockSpec,
    EmbeddingSpec,
    HeadSpec,
    LayerSpec,
    NormSpec,
    SubModuleSpec,
    build_each,
)
from sma.architectures.specs.fields import Size
from sma.causality import check_causal
from sma.modules.norms import Norm
from sma.spec.base import check_parts, children, find_part
from sma.spec.bounds import MAX_BLOCKS, MAX_PARAMETERS
from sma.spec.building import line_of, needs_data, trying
from sma.spec.registry import package_of

FORMAT_VERSION = 1
"""The version that specs are written in."""
_CAUSAL = (BlockSpec, LayerSpec, NormSpec, SubModuleSpec, EmbeddingSpec, HeadSpec)
"""The families whose modules may not look ahead in a language model, each by itself."""
UPGRADE = "upgrade it: pip install --upgrade sparse-modular-activation"


class Model(nn.Module):
    """Base of whole models.

    Attributes:
        spec: what the model was built from; saved with its weights.

    Example:
        >>> from sma.architectures import seqboat
        >>> model = seqboat(vocab_size=256, d_model=16, n_layers=2).build()
        >>> model.activation_checkpointing = True
        >>> model.spec.kind
        'sequence_model'
    """

    spec: "ModelSpec"

    @property
    def activation_checkpointing(self) -> bool:
        """Whether, in training, each block's activations are computed again in the backward pass, not kept.

        Results and gradients are the same. It is not part of `spec`, and not saved.

        Raises:
            ValueError: if it is set to True in a model whose blocks are not `Blocks`.
        """
        return any(blocks.activation_checkpointing for blocks in self._block_lists())

    @activation_checkpointing.setter
    def activation_checkpointing(self, value: bool) -> None:
        lists = self._block_lists()
        if value and not lists:
            raise ValueError(
                f"{type(self).__name__} has no sma.architectures.Blocks whose activations could be computed "
                "again; set activation_checkpointing to False, or let it hold its blocks in Blocks"
            )
        for blocks in lists:
            blocks.activation_checkpointing = value

    def _block_lists(self) -> list[Blocks]:
        return [module for module in self.modules() if isinstance(module, Blocks)]


class ModelSpec(Spec):
    """Builds a whole model.

    Attributes:
        format_version: of the spec's format.
    """

    format_version: Annotated[int, Field(ge=1, strict=True)] = FORMAT_VERSION

    @model_validator(mode="before")
    @classmethod
    def _check_version(cls, values: Any) -> Any:
        version = values.get("format_version") if isinstance(values, dict) else None
        if type(version) is int and version > FORMAT_VERSION:
            raise ValueError(
                f"format_version={version} is newer than {FORMAT_VERSION}, the newest that sma "
                f"{sma.__version__} reads; {UPGRADE}"
            )
        return values

    @model_validator(mode="after")
    def _check_parts(self) -> "ModelSpec":
        check_parts(self)
        return self

    @abstractmethod
    def build(self) -> Model:
        """The model."""


class ComposedModel(Model):
    """Base of models that consist of an embedding, blocks, a norm and a head.

    Args:
        spec: what it was built from; saved with the weights.
        embedding: inputs to `(B, L, D)`.
        blocks: maps of `(B, L, D)`.
        norm: after the last block, or None.
        head: `(B, L, D)` to the result.
    """

    def __init__(
        self,
        spec: "ComposedModelSpec",
        *,
        embedding: nn.Module,
        blocks: list[SequenceModule],
        norm: Norm | None,
        head: nn.Module,
    ) -> None:
        super().__init__()
        self.spec = spec
        self.embedding = embedding
        self.blocks = Blocks(blocks)
        self.norm = norm
        self.head = head


class ComposedModelSpec(ModelSpec):
    """Fields of models that consist of an embedding, blocks, a norm and a head.

    Attributes:
        d_model: D, the width of everything between embedding and head.
        embedding: what reads the inputs.
        blocks: the stack, from input to output.
        norm: after the last block.
        head: what is predicted.
    """

    d_model: Size
    embedding: OneOf[EmbeddingSpec]
    blocks: Annotated[tuple[OneOf[BlockSpec], ...], Field(min_length=1)]
    norm: OneOf[NormSpec] | None = None
    head: OneOf[HeadSpec]

    def _parts(self) -> dict[str, Any]:
        """The arguments of a `ComposedModel`, freshly initialised."""
        embedding = self.embedding.build(self.d_model)
        return {
            "embedding": embedding,
            "blocks": build_each(self.blocks, self.d_model),
            "norm": None if self.norm is None else self.norm.build(self.d_model),
            "head": self.head.build(self.d_model, embedding),
        }


def check_builds(spec: ComposedModelSpec) -> None:
    """Build a model without memory, on torch's meta device, equal blocks once.

    A part that needs data to be built is left to the real build; the others are tried one by one then.

    Raises:
        ValueError: with the path of the innermost part that cannot be built and why, or that looks ahead in a
            language model; if there are more than `MAX_PARAMETERS` parameters or `MAX_BLOCKS` blocks.
    """
    n_blocks = _expanded(spec)
    if n_blocks > MAX_BLOCKS:
        raise ValueError(f"the model has {n_blocks} blocks, more than {MAX_BLOCKS}; make a `repeat` smaller")

    def check(part: Spec, built: nn.Module) -> None:
        if spec.head.needs_causal and isinstance(part, _CAUSAL):
            check_causal(built)

    with trying(check):
        model = _tried(spec, spec)
        if model is None:
            first = _tried(spec, spec.embedding, spec.d_model)
            last = None if first is None else _tried(spec, spec.head, spec.d_model, first)
            others = [part for part in children(spec).values() if isinstance(part, BlockSpec | NormSpec)]
            parts = [first, last, *(_tried(spec, part, spec.d_model) for part in others)]
            model = nn.ModuleList(part for part in parts if part is not None)
    n_parameters = _n_parameters(model)
    if n_parameters > MAX_PARAMETERS:
        raise ValueError(
            f"the model has {n_parameters:.2g} parameters, more than {MAX_PARAMETERS:.0e}; make a size or a "
            "`repeat` smaller"
        )


def _expanded(spec: Spec) -> int:
    """The blocks in a spec, itself included, each as often as it is repeated."""
    inside = sum(_expanded(part) for part in children(spec).values())
    return spec.repeat * (1 + inside) if isinstance(spec, BlockSpec) else inside


def _tried(whole: Spec, part: Any, *arguments: Any) -> nn.Module | None:
    """The module that a part of a whole builds; None if it needs data to be built."""
    try:
        built: nn.Module = part.build(*arguments)
    except Exception as error:  # the part may be another package's
        if needs_data(error):
            return None
        raise ValueError(_told(whole, error)) from error
    return built


def _told(whole: Spec, error: Exception) -> str:
    """An error of a `build` with the part's place in the whole, its class and its package."""
    path, part = find_part(whole, error)
    start, name, package = f"{path}: " if path else "", type(part).__name__, package_of(type(part))
    if package is not None:
        name += f" of the package {package!r}"
    if not isinstance(error, ValueError):
        reason = f"{type(error).__name__}: {error}".removesuffix(": ")
        return f"{start}{name} cannot be built ({reason}; {line_of(error)})"
    return f"{start}{error}" if package is None else f"{start}{name} cannot be built ({error})"


def _n_parameters(model: nn.Module) -> int:
    """How many numbers a model has: tied ones once, those of a block as often as the model contains it."""
    holders: dict[int, nn.Module] = {}
    totals: dict[nn.Module, int] = {}

    def total(module: nn.Module) -> int:
        if module not in totals:
            own = {id(p): p for p in module._parameters.values() if p is not None}
            mine = [p.numel() for key, p in own.items() if holders.setdefault(key, module) is module]
            totals[module] = sum(mine) + sum(total(m) for m in module._modules.values() if m is not None)
        return totals[module]

    return total(model)
