"""The families of specs: one abstract class per thing an architecture is made of.

Each says what its kinds build. A package adds a kind by deriving from one of these.
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from torch import nn

from sma import Compaction, Router, SequenceModule, Spec, SubModule
from sma.architectures.specs.fields import Size
from sma.modules.attention.positions import RelativePosition
from sma.modules.norms import Norm
from sma.spec.building import only_tried


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
    """Builds a `SequenceModule` for a model's stack.

    Attributes:
        repeat: how many such blocks follow one another, each with its own weights.
    """

    repeat: Size = 1

    @abstractmethod
    def build(self, d_model: int) -> SequenceModule:
        """One block `(B, L, d_model) -> (B, L, d_model)`."""


def build_each(specs: Sequence[Spec], d_model: int) -> list[Any]:
    """The modules that specs build from a width alone, in order, blocks as often as they are repeated.

    Where it is only tried whether a model can be built, equal specs share one module.
    """
    shared: dict[tuple[type, str], Any] = {}
    built = []
    for spec in specs:
        n_times = spec.repeat if isinstance(spec, BlockSpec) else 1
        if not only_tried():
            built += [spec.build(d_model) for _ in range(n_times)]  # type: ignore[attr-defined]
            continue
        key = type(spec), spec.model_dump_json()
        if key not in shared:
            shared[key] = spec.build(d_model)  # type: ignore[attr-defined]
        built += [shared[key]] * n_times
    return built


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
