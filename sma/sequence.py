"""The contract of everything that maps a batch of sequences to a batch of sequences."""

from abc import abstractmethod
from functools import cache
from inspect import signature

import torch
from torch import Tensor, nn
from typing_extensions import override

from sma.checks import check_features, describe
from sma.elements import Edges, PackedRows
from sma.part import Part
from sma.state import NoState, StateT


class SequenceModule(Part[StateT]):
    """A map `(B, L, D) -> (B, L, D)`: a mixer, a branch, a block, an SMA layer.

    A row's result does not depend on its batch-mates or on how it is padded. `causal` says whether a result
    depends on nothing after it; only then `init_state` and `step` exist. `uses_edges` says whether elements
    are nodes of graphs to it; containers then pass `forward` the `Edges` between them, to others `x` and
    `mask` alone.

    `takes_rows` says whether `forward` also takes `rows`, the borders between rows that stand one after
    another in one: `x` is then `(1, T, D)` without padding or mask, and each row's result is that of the row
    alone. Containers that leave out padding so give other modules a padded batch, see `call`.

    Padding: it is 0 in `x`, for `forward` and `step`, and must be 0 in the result. Zeros are made once per
    block, where something that is not 0 arises (`zero_padding`), not again by every part: parts that mix
    elements may rely on them. Models, the blocks of `sma.architectures` and `SparseModularActivation` make
    their own input's padding 0, so that it may hold anything.
    """

    @property
    def takes_rows(self) -> bool:
        """Whether `forward` has an argument `rows`."""
        return _has_rows(type(self))

    @abstractmethod
    @override
    def forward(self, x: Tensor, mask: Tensor | None = None, edges: Edges | None = None) -> Tensor:
        """Map whole sequences.

        Args:
            x: `(B, L, D)`, 0 at padding.
            mask: `(B, L)` bool, True = a real element. None: all are real.
            edges: between elements of the same row, numbered as in the flattened `(B * L)` input.

        Returns:
            `(B, L, D)`, 0 at padding.
        """

    def step(self, x: Tensor, state: StateT, mask: Tensor | None = None) -> Tensor:
        """Process the next L elements of every row, advancing `state` in place.

        The state is a constant to gradients: they reach `x` and the parameters through these elements only.

        Args:
            x: `(B, L, D)`, 0 at padding; L = 1 decodes one element, more are a chunk of a prompt.
            state: as `init_state` returned it.
            mask: `(B, L)` bool; padding does not advance a row.

        Returns:
            `(B, L, D)`, equal at real elements to `forward` on all elements so far, and 0 at padding.
        """
        raise NotImplementedError(f"{type(self).__name__} does not support step-by-step decoding")

    def flops(self, n: int) -> int:
        """Floating-point operations of a forward pass over `n` elements of one row; a multiply-add is 2.

        Matrix products, recurrences and attention are counted, element-wise functions are not. What a router
        activates is not counted here but where it is known, in a recording: this is the cost when nothing is.
        """
        raise NotImplementedError(f"{type(self).__name__} does not count its operations")


class PerElement(SequenceModule[NoState]):
    """Any module that treats elements independently, as a `SequenceModule` without state.

    Args:
        module: maps `(..., D)` to `(..., D)`.

    Example:
        >>> PerElement(nn.Linear(4, 4))(torch.zeros(2, 3, 4)).shape
        torch.Size([2, 3, 4])
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    @override
    def forward(
        self,
        x: Tensor,
        mask: Tensor | None = None,
        edges: Edges | None = None,
        rows: PackedRows | None = None,
    ) -> Tensor:
        return zero_padding(self.module(check_input(x, mask, input_width(self.module))), mask)

    @override
    def init_state(
        self, batch_size: int, *, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> NoState:
        """Nothing to remember."""
        return NoState()

    @override
    def step(self, x: Tensor, state: NoState, mask: Tensor | None = None) -> Tensor:
        return self(x, mask)

    @override
    def flops(self, n: int) -> int:
        return n * matrix_flops(self.module)


def arguments(
    module: SequenceModule, x: Tensor, mask: Tensor | None, edges: Edges | None
) -> tuple[Tensor, Tensor | None] | tuple[Tensor, Tensor | None, Edges]:
    """The arguments of a module's call by a container: `edges` only if given and used by the module.

    The `forward` of a module that knows no graphs may therefore take `x` and `mask` alone.
    """
    return (x, mask) if edges is None or not module.uses_edges else (x, mask, edges)


def call(
    module: SequenceModule,
    x: Tensor,
    mask: Tensor | None = None,
    edges: Edges | None = None,
    rows: PackedRows | None = None,
) -> Tensor:
    """A module's call by a container; on packed `rows` of `x (1, T, D)`, if they are given.

    One that does not take them gets the padded batch.
    """
    y: Tensor
    if rows is None:
        y = module(*arguments(module, x, mask, edges))
    elif module.takes_rows:
        y = module(x, rows=rows)
    else:
        y = rows.pack(module(rows.pad(x), rows.mask))
    return y


@cache
def _has_rows(kind: type[SequenceModule]) -> bool:
    return "rows" in signature(kind.forward).parameters


def check_mask(mask: Tensor | None, x: Tensor) -> None:
    """Raise ValueError unless the mask is None, or bool and of the first two dimensions of x."""
    if mask is None:
        return
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool or mask.shape != x.shape[:2]:
        raise ValueError(
            f"mask must be (B, L) = {tuple(x.shape[:2])} bool, True for a real element; got {describe(mask)}"
        )


def without_full_mask(mask: Tensor | None) -> Tensor | None:
    """None for a mask `(B, L)` without padding: rows without a mask take less time.

    A device is not asked, for it would wait, and neither is compiled code.
    """
    if mask is None or mask.device.type != "cpu" or torch.compiler.is_compiling():
        return mask
    return None if bool(mask.all()) else mask


def zero_padding(x: Tensor, mask: Tensor | None, d_model: int | None = None) -> Tensor:
    """`x (B, L, D)` with 0 wherever `mask (B, L)` is False: padding may hold NaN.

    Raises:
        ValueError: if x is not `(B, L, D)` floating point, D is not `d_model` (None: any), or the mask is not
            `(B, L)` bool.
    """
    check_input(x, mask, d_model)
    return x if mask is None else torch.where(mask.unsqueeze(-1), x, 0)  # faster than masked_fill


def check_input(x: Tensor, mask: Tensor | None, d_model: int | None = None) -> Tensor:
    """`x (B, L, D)`, where its padding is known to be zero, or may be anything finite.

    Raises:
        ValueError: as `zero_padding`.
    """
    check_features(x, 3, d_model)
    check_mask(mask, x)
    return x


def input_width(module: nn.Module) -> int | None:
    """D of the input that a linear map, or a sequence that begins with one, takes; None: not known."""
    first = module[0] if isinstance(module, nn.Sequential) and len(module) else module
    return first.in_features or None if isinstance(first, nn.Linear) else None


def matrix_flops(module: nn.Module) -> int:
    """Operations per element of all matrices in a module, each applied once: two per weight."""
    return sum(2 * parameter.numel() for parameter in module.parameters() if parameter.dim() == 2)
