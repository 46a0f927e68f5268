"""The families of specs: one abstract class per thing an architecture is made of.

Each says what its kinds build. A package adds a kind by deriving from one of these.
"""

from abc import abstractmethod
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from torch import nn

from sma import Compaction, Router, SequenceModule, Spec, SubModule
from sma.architectures.blocks.block_list import Blocks
from sma.architectures.versions import newest_version, upgrade
from sma.modules.attention.positions import RelativePosition
from sma.modules.functional import activation_function
from sma.modules.norms import Norm
from sma.spec.base import check_parts


def _no_truth_value(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("must be a number")
    return value


def _whole_number(value: Any) -> Any:
    if isinstance(value, bool | str):
        raise ValueError("must be a whole number, without quotes")
    return value


WHOLE = BeforeValidator(_whole_number)
NUMBER = BeforeValidator(_no_truth_value)  # what YAML takes for text, such as 1e-3, may be one
Count = Annotated[int, Field(ge=1), WHOLE]
Size = Annotated[int, Field(ge=1, le=2**24), WHOLE]
Finite = Annotated[float, Field(allow_inf_nan=False), NUMBER]
Probability = Annotated[float, Field(ge=0, le=1), NUMBER]
Share = Annotated[float, Field(gt=0, le=1), NUMBER]
Dropout = Annotated[float, Field(ge=0, lt=1), NUMBER]
Coefficient = Annotated[float, Field(ge=0), NUMBER]
Positive = Annotated[float, Field(ge=1e-8, le=1e8), NUMBER]


def _known_activation(name: str) -> str:
    activation_function(name)
    return name


Activation = Annotated[str, AfterValidator(_known_activation)]


class RouterSpec(Spec):
    """Builds a `Router`."""

    @abstractmethod
    def build(self, d_model: int, n_modules: int) -> Router:
        """A router of elements `(B, L, d_model)` over `n_modules` sub-modules."""


class SubModuleSpec(Spec):
    """Builds a `SubModule`: what can be routed."""

    @abstractmethod
    def build(self, d_model: int) -> SubModule:
        """A sub-module of elements `(T, d_model)`."""


class CompactionSpec(Spec):
    """Builds a `Compaction`."""

    @abstractmethod
    def build(self) -> Compaction:
        """A compaction."""


class PositionSpec(Spec):
    """Builds a `RelativePosition` for attention."""

    @abstractmethod
    def build(self, d_qk: int, *, window: int | None, bidirectional: bool) -> RelativePosition:
        """How attention with `d_qk` features per query sees positions."""


class NormSpec(Spec):
    """Builds a `Norm`."""

    @abstractmethod
    def build(self, d_model: int) -> Norm:
        """A norm over the features of `(B, L, d_model)`."""


class LayerSpec(Spec):
    """Builds a `SequenceModule` for a block: a mixer or a branch."""

    @abstractmethod
    def build(self, d_model: int) -> SequenceModule:
        """A map `(B, L, d_model) -> (B, L, d_model)`."""


class BlockSpec(Spec):
    """Builds a `SequenceModule` that stands in a model's stack.

    Attributes:
        repeat: how many such blocks follow one another, each with its own weights.
    """

    repeat: Size = 1

    @abstractmethod
    def build(self, d_model: int) -> SequenceModule:
        """One block `(B, L, d_model) -> (B, L, d_model)`."""


class EmbeddingSpec(Spec):
    """Builds an `Embedding`: inputs to `(B, L, d_model)`."""

    @abstractmethod
    def build(self, d_model: int) -> nn.Module:
        """An embedding, called as `embedding(inputs, mask=None, offset=None)`."""


class HeadSpec(Spec):
    """Builds a head: `(B, L, d_model)` to the model's result."""

    @property
    def needs_causal(self) -> bool:
        """Whether the head predicts an element from those before it, so that no part may look ahead."""
        return False

    @abstractmethod
    def build(self, d_model: int, embedding: nn.Module) -> nn.Module:
        """A head, called as `head(x, mask=None)`; `embedding` is the model's, for tied weights."""


class ModelSpec(Spec):
    """Builds a whole model.

    Attributes:
        format_version: of the spec's format; older versions still load.
    """

    format_version: Annotated[int, Field(ge=1, strict=True)] = newest_version()

    @model_validator(mode="before")
    @classmethod
    def _upgrade(cls, values: Any) -> Any:
        return upgrade(values) if isinstance(values, dict) else values

    @model_validator(mode="after")
    def _check_parts(self) -> "ModelSpec":
        check_parts(self)
        return self

    @abstractmethod
    def build(self) -> "Model":
        """The model."""


class Model(nn.Module):
    """Base of whole models.

    Attributes:
        spec: what the model was built from; saved with its weights.
    """

    spec: ModelSpec

    @property
    def activation_checkpointing(self) -> bool:
        """Whether, in training, each block's activations are computed again in the backward pass, not kept.

        Results and gradients are the same. It is no part of `spec`, and not saved.

        Raises:
            ValueError: if it is set to True in a model whose blocks are no `Blocks`.
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
