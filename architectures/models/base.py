"""The base of whole models and of their specs."""

from abc import abstractmethod
from typing import Annotated, Any

from pydantic import Field, model_validator
from torch import nn

from sma import Spec
from sma.architectures.blocks.stack import Blocks
from sma.architectures.versions import newest_version, upgrade
from sma.spec.base import check_parts


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

    Example:
        >>> from sma.architectures import seqboat
        >>> model = seqboat(vocab_size=256, d_model=16, n_layers=2).build()
        >>> model.activation_checkpointing = True
        >>> model.spec.kind
        'sequence_model'
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
