"""Activation maps: what some elements activated, cut out of a recording for pictures and reports."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sma.recording import Recording


@dataclass(frozen=True)
class ActivationMap:
    """Which sub-modules, of all layers, some elements activated.

    Attributes:
        active: `(n, C)` bool; for each element and sub-module.
        names: C; what the sub-modules are called.

    Raises:
        ValueError: if `active` is not a bool matrix with one column per name.

    Example:
        >>> found = ActivationMap(torch.tensor([[True, True], [False, True]]), ("layer 1", "layer 2"))
        >>> found.counts.tolist(), found[1:].active.tolist()
        ([2, 1], [[False, True]])
    """

    active: Tensor
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        shape = tuple(self.active.shape)
        if self.active.dtype != torch.bool or len(shape) != 2 or shape[1] != len(self.names):
            raise ValueError(
                f"active must be a bool tensor (elements, {len(self.names)}), a column per name; "
                f"got {self.active.dtype} {shape}"
            )

    @classmethod
    def of(cls, recording: Recording, row: int = 0) -> "ActivationMap":
        """The activations of a row's real elements in every layer of a recording.

        Raises:
            ValueError: if nothing was recorded, if there is no such row, or if the layers did not see the
                same elements.
        """
        if not recording.layers:
            raise ValueError("the recording is empty; run a model with SMA layers inside `with sma.record()`")
        masks = [layer.mask for layer in recording.layers]
        if not all(torch.equal(mask, masks[0]) for mask in masks):
            shapes = ", ".join(str(tuple(mask.shape)) for mask in masks)
            raise ValueError(
                f"the layers saw different elements (masks of {shapes}); record one call of one model, or "
                "draw a Recording of some of the layers"
            )
        if not -len(masks[0]) <= row < len(masks[0]):
            raise ValueError(f"row={row}, but the recording has {len(masks[0])} rows")
        active = [layer.routing.active[row, masks[0][row]] for layer in recording.layers]
        names = sub_module_names([kinds(layer.layer) for layer in recording.layers])
        return cls(torch.cat(active, -1).cpu(), names)

    @classmethod
    def none(cls, n: int) -> "ActivationMap":
        """That of n elements in a model without sub-modules to activate."""
        return cls(torch.zeros(n, 0, dtype=torch.bool), ())

    @property
    def counts(self) -> Tensor:
        """`(n,)` long: how many sub-modules each element activated."""
        return self.active.sum(-1)

    @property
    def highest(self) -> int:
        """How many there are to activate, and at least 1."""
        return max(len(self.names), 1)

    def __len__(self) -> int:
        return len(self.active)

    def __getitem__(self, elements: slice | Tensor | list[int]) -> "ActivationMap":
        """Those of some elements."""
        return ActivationMap(self.active[elements], self.names)


def to_map(source: Recording | ActivationMap, row: int) -> ActivationMap:
    """The activations of a row of a recording, or those of a map as they are.

    Raises:
        ValueError: see `ActivationMap.of`.
        TypeError: if it is neither of the two.
    """
    if isinstance(source, Recording):
        return ActivationMap.of(source, row)
    if not isinstance(source, ActivationMap):
        found = type(source).__name__
        raise TypeError(f"activations, which come first, must be a Recording or ActivationMap, got {found}")
    return source


def kinds(layer: nn.Module) -> list[str]:
    """The class of each sub-module of a layer; of what an adapter wraps as its `module`, that of the wrapped.

    Args:
        layer: has `sub_modules`.
    """
    modules: Iterable[nn.Module] = layer.sub_modules  # type: ignore[assignment]
    return [type(_unwrapped(each)).__name__ for each in modules]


def _unwrapped(module: nn.Module) -> nn.Module:
    inner = getattr(module, "module", None)
    return _unwrapped(inner) if isinstance(inner, nn.Module) else module


def sub_module_names(layers: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """Names for the sub-modules of layers: the layer's number, and the kind, numbered where it is not alone.

    Args:
        layers: the kinds of the sub-modules of each layer.

    Example:
        >>> sub_module_names([["GAU"], ["GAU", "FeedForward", "FeedForward"]])
        ('layer 1, GAU', 'layer 2, GAU', 'layer 2, FeedForward 1', 'layer 2, FeedForward 2')
    """
    names = []
    for i, of_layer in enumerate(layers, 1):
        for m, kind in enumerate(of_layer):
            number = f" {of_layer[: m + 1].count(kind)}" if of_layer.count(kind) > 1 else ""
            names.append(f"layer {i}, {kind}{number}")
    return tuple(names)
