"""The base of the callers: what a model offers, and how it is called, as Python."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from sma.testing.black_box.inputs import Inputs


@dataclass(frozen=True)
class Decoding:
    """How a model reads a row piece by piece, as Python; names in braces are filled in.

    Attributes:
        start: makes `{cache}` for the rows of `{x}`, before the first element.
        read: reads the next elements `{x}` with `{positions}`: sets `y`, the results at them, and `{cache}`.
        read_padded: the same with elements `a` to `b` of `x` and `mask`, padded on the left.
        positions: the argument of positions, around `{positions}`.
        select: continues with `{rows}` of `{cache}`, as beam search does; None: not offered.
        leave: continues with some of the rows of `{cache}`; None: not offered.
        join: adds the rows of `{other}` to `{cache}`; None: not offered.
        why_not: why `select`, `leave` or `join` is not offered, by name.
    """

    start: tuple[str, ...]
    read: tuple[str, ...]
    read_padded: tuple[str, ...]
    positions: str = ""
    select: str | None = None
    leave: str | None = None
    join: str | None = None
    why_not: tuple[tuple[str, str], ...] = ()

    def starting(self, x: str = "x", cache: str = "cache") -> tuple[str, ...]:
        """The lines that make a cache for the rows of `x`."""
        return tuple(line.format(x=x, cache=cache) for line in self.start)

    def reading(self, x: str, cache: str = "cache", *, positions: str = "") -> tuple[str, ...]:
        """The lines that read `x`.

        Args:
            x: an expression, the next elements of every row.
            cache: the name of the cache.
            positions: an expression, their positions; empty: not given.
        """
        given = self.positions.format(positions=positions) if positions else ""
        return tuple(line.format(x=x, cache=cache, positions=given) for line in self.read)

    def reading_padded(self, positions: str = "") -> tuple[str, ...]:
        """The lines that read the elements `a` to `b` of rows `x` that are padded on the left, see `mask`."""
        given = self.positions.format(positions=positions) if positions else ""
        return tuple(line.format(cache="cache", positions=given) for line in self.read_padded)


class Caller(ABC):
    """How a model is called.

    Expressions are Python on the names `model` and `x`, so that a check and the program that shows its
    violation are the same text.

    Attributes:
        inputs: what it reads.
        causal: whether a result depends on nothing after it; None: not known.
        pooled: whether there is one result per row, `(B, K)`, instead of one per element, `(B, L, K)`.
        masks: whether it takes a mask of padding.
        why_no_mask: why it does not.
        positions: whether it takes positions of elements, `(B, L)`.
        why_no_positions: why it does not, or documents are not told apart by them.
        decoding: how it decodes; None: it does not.
        why_no_decoding: why it does not.
        window: how many elements fit into its window or chunk; None: not known.
        setup: lines of Python that expressions need in a program.
        names: what they need here, by name.
    """

    inputs: Inputs
    causal: bool | None = None
    pooled: bool = False
    masks: bool = False
    why_no_mask: str = "it takes no mask of padding"
    positions: bool = False
    why_no_positions: str = "only causal models that take positions tell documents apart by them"
    decoding: Decoding | None = None
    why_no_decoding: str = "no cached decoding is known for this kind of model"
    window: int | None = None
    setup: tuple[str, ...] = ()
    names: Mapping[str, Any] = MappingProxyType({})

    @abstractmethod
    def forward(
        self, x: str = "x", *, mask: str | None = None, positions: str | None = None, model: str = "model"
    ) -> str:
        """The expression of a model's result on whole rows.

        Args:
            x: the input.
            mask: `(B, L)` bool, True = a real element.
            positions: of elements in their rows or documents, `(B, L)`.
            model: the model.
        """

    def packed(self, positions: str, mask: str | None = None) -> str | None:
        """The expression of the result on documents one after another in a row; None: not offered.

        Args:
            positions: of elements in their documents, `(B, L)`.
            mask: of the whole row; None: not given, so that the positions can tell documents apart.
        """
        return None

    def recomputing(self) -> tuple[str, str]:
        """A statement before the forward pass, and its expression, both under the flag `recompute`."""
        whole = f"torch.utils.checkpoint.checkpoint(lambda x: {self.forward()}, x, use_reentrant=False)"
        return "", f"{whole} if recompute else {self.forward()}"

    def saving(self) -> tuple[str, ...] | None:
        """Lines that write the model and set `again` to one that is read from it; None: not offered."""
        return None
