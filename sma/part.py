"""The base class that routers, sub-modules and sequence modules share."""

from abc import ABC
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Generic

import torch
from torch import nn

from sma.state import StateT


class Part(nn.Module, ABC, Generic[StateT]):
    """Base of `Router`, `SubModule` and `SequenceModule`: the properties of parts that a container reads.

    Both properties are read from the parts inside, unless a class says otherwise: by an attribute
    (`causal = False`), by a property of its own, or by assigning to `self.causal`.

    Attributes:
        no_weight_decay: names of the part's own parameters that no optimizer should pull towards 0, such as
            decays and offsets; those of fewer than two dimensions need not be named.
    """

    no_weight_decay: tuple[str, ...] = ()

    @property
    def causal(self) -> bool:
        """Whether no result depends on a later element.

        True unless something inside looks ahead: a part whose `causal` is False, or a module that is
        `bidirectional`, itself included.
        """
        stated: bool | None = vars(self).get("causal")
        if stated is not None:
            return stated
        return not getattr(self, "bidirectional", False) and not any(map(looks_ahead, _inside(self)))

    @property
    def uses_edges(self) -> bool:
        """Whether elements are nodes of graphs, whose edges are read: True if a part inside reads them."""
        stated: bool | None = vars(self).get("uses_edges")
        if stated is not None:
            return stated
        return any(part.uses_edges for part in _inside(self) if isinstance(part, Part))

    if not TYPE_CHECKING:  # for type checkers read-only, so that a subclass may override by a property

        @causal.setter
        def causal(self, value: bool) -> None:
            vars(self)["causal"] = value

        @uses_edges.setter
        def uses_edges(self, value: bool) -> None:
            vars(self)["uses_edges"] = value

    def init_state(
        self, batch_size: int, *, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> StateT:
        """The decoding state of `batch_size` rows before their first element."""
        raise NotImplementedError(f"{type(self).__name__} does not support step-by-step decoding")


def looks_ahead(module: nn.Module) -> bool:
    """Whether a module says that it looks ahead: its `causal` is False, or it is `bidirectional`."""
    says: Any = getattr(module, "causal", None)
    return bool(getattr(module, "bidirectional", False)) if says is None else not says


def _inside(module: nn.Module) -> Iterator[nn.Module]:
    """The parts inside a module, and what stands between: nothing inside a part."""
    for child in module.children():
        yield child
        if not isinstance(child, Part):
            yield from _inside(child)
