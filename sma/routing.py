"""The routing decision: which elements activate which sub-modules, and how confidently."""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import cast

import torch
from torch import Tensor
from typing_extensions import override

from sma.checks import check_sizes
from sma.elements import PackedRows
from sma.part import Part
from sma.state import NoState, StateT


@dataclass(frozen=True)
class Routing:
    """The decision of a router for every element and sub-module.

    Attributes:
        active: `(B, L, M)` bool; whether an element activates a sub-module. Carries no gradient and is
            False at padding.
        confidence: `(B, L, M)` float in [0, 1]; the weight of the sub-module's output. All of the
            router's gradient flows through it, and only where `active` is True.
        losses: named scalar auxiliary losses (load balance, activation budget, ...), unweighted sums are
            never taken here: each is already multiplied by its coefficient.

    Raises:
        ValueError: if shapes or dtypes do not agree.

    Example:
        >>> probability = torch.rand(2, 5, 3)
        >>> Routing(probability > 0.5, probability).active.shape
        torch.Size([2, 5, 3])
    """

    active: Tensor
    confidence: Tensor
    losses: Mapping[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.active.dtype != torch.bool:
            raise ValueError(f"Routing.active must be bool, got {self.active.dtype}; compare, don't cast")
        if self.active.dim() != 3 or self.active.shape != self.confidence.shape:
            raise ValueError(
                "Routing.active and Routing.confidence must both be (B, L, M), got "
                f"{tuple(self.active.shape)} and {tuple(self.confidence.shape)}"
            )
        if not self.confidence.is_floating_point():
            raise ValueError(
                f"Routing.confidence must be floating point, got {self.confidence.dtype}; it carries "
                "the gradient"
            )


class Router(Part[StateT]):
    """Decides for every element which of `n_modules` sub-modules it activates.

    A decision may depend on other elements. `causal` says whether the decision at t depends on nothing after
    t; only then can the router be used in step-by-step decoding. A router whose decision depends on the
    *past* as well overrides `init_state` and `step`.

    `element_wise` says whether the decision about an element depends on nothing but the element, as it enters
    `forward`; losses may be means over the real elements of the batch.

    `max_rate` bounds what `forward` can activate: of the n real elements of a row, the M modules take at most
    max_rate times n each on average, rounded up to a whole element.

    Args:
        n_modules: M, the number of sub-modules behind this router; at least 1.

    Raises:
        ValueError: if `n_modules` is less than 1.

    Example:
        >>> class NormRouter(Router):
        ...     def forward(self, x, mask=None):
        ...         long = x.norm(dim=-1, keepdim=True).tanh()
        ...         return Routing(mask_padding(long > 0.5, mask), long)
        >>> NormRouter(1)(torch.tensor([[[0.1], [3.0]]])).active.flatten().tolist()
        [False, True]
    """

    max_rate: float = 1.0
    element_wise: bool = False

    @property
    def predicts(self) -> bool:
        """Whether `step` decides by a causal prediction of what `forward` decides by looking ahead.

        A language model may then contain the router, though it is not causal.
        """
        return False

    def __init__(self, n_modules: int) -> None:
        super().__init__()
        check_sizes(n_modules=n_modules)
        self.n_modules = n_modules

    @abstractmethod
    @override
    def forward(self, x: Tensor, mask: Tensor | None = None) -> Routing:
        """Route every element.

        Args:
            x: `(B, L, D)`, 0 at padding.
            mask: `(B, L)` bool, True = a real element. None: all are real.

        Returns:
            The routing, with `active` False at padding.
        """

    @override
    def init_state(
        self, batch_size: int, *, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> StateT:
        """State before the first element. Routers that look at one element only need none."""
        if not self.causal:
            raise NotImplementedError(
                f"{type(self).__name__} decides by looking at later elements (causal = False), so it cannot "
                "decode step by step; use a causal router, or one that carries a causal predictor"
            )
        return cast(StateT, NoState())

    def step(self, x: Tensor, state: StateT, mask: Tensor | None = None) -> Routing:
        """Route the next elements of every row, `(B, L, D)` with any L, advancing `state` in place."""
        return self(x, mask)


def route(router: Router, x: Tensor, mask: Tensor | None = None, rows: PackedRows | None = None) -> Routing:
    """The checked decisions of a router, also about packed `rows` of `x (1, T, D)`.

    A router that is not `element_wise` decides about these as a padded batch.

    Raises:
        ValueError: as `check_routing`.
        TypeError: as `check_routing`.
    """
    if rows is None or router.element_wise:
        return check_routing(router(x, mask), router, x, mask)
    x, mask = rows.pad(x), rows.mask
    return _changed(check_routing(router(x, mask), router, x, mask), rows.pack)


def unpacked(routing: Routing, rows: PackedRows) -> Routing:
    """Decisions about packed rows, `(1, T, M)`, as those about the padded batch, `(B, L, M)`."""
    return _changed(routing, rows.pad)


def _changed(routing: Routing, function: Callable[[Tensor], Tensor]) -> Routing:
    return replace(routing, active=function(routing.active), confidence=function(routing.confidence))


def check_routing(routing: Routing, router: Router, x: Tensor, mask: Tensor | None) -> Routing:
    """Return the routing of `x (B, L, D)`, checked to be a `Routing` of that many elements and sub-modules.

    `active` is made False wherever `mask (B, L)` is False, for routers that do not look at the mask.

    Raises:
        TypeError: if it is anything else, such as a tuple.
        ValueError: if it is of another shape.
    """
    name = type(router).__name__
    if not isinstance(routing, Routing):
        raise TypeError(
            f"router {name} returns {type(routing).__name__}, but must return a Routing; write "
            "sma.Routing(active, confidence)"
        )
    wanted = (*x.shape[:2], router.n_modules)
    if routing.active.shape != wanted:
        raise ValueError(
            f"router {name} returns active {tuple(routing.active.shape)}, but must decide for "
            f"(B, L, n_modules) = {tuple(wanted)}: every element, and every sub-module"
        )
    return routing if mask is None else replace(routing, active=mask_padding(routing.active, mask))


def mask_padding(active: Tensor, mask: Tensor | None) -> Tensor:
    """`active (B, L, M)` with False wherever `mask (B, L)` is False."""
    return active if mask is None else active & mask.unsqueeze(-1)
