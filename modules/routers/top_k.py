"""Routers with a fixed number of activations: elements choose modules, or modules choose elements."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from sma.capacity import Share
from sma.checks import check_sizes
from sma.modules.functional import at_least_float32, in_float32, linear
from sma.modules.routers.budget import mean_over_real
from sma.recomputation import replayed
from sma.routing import Router, Routing, mask_padding
from sma.sequence import check_input
from sma.state import NoState, State


class TopKRouter(Router):
    r"""Every element activates the k modules that it scores highest (token choice), as in Switch and Mixtral.

    $$ p_t = \operatorname{softmax}(W x_t), \qquad a_t^m = [m \in \text{top-}k(p_t)], \qquad
       c_t^m = p_t^m \;\text{ or }\; p_t^m / \textstyle\sum_{a_t^j = 1} p_t^j $$

    The second confidence is that of Mixtral (https://arxiv.org/abs/2401.04088), the first that of Switch
    (https://arxiv.org/abs/2101.03961). Losses, over the real elements of the batch (in training with several
    processes, of all ranks' batches):

    - `load_balance`, coefficient times $ M \sum_m f_m P_m $, with f the share of all activations that went to
      m, and P the mean of p (Switch, Eq. 4, where k = 1). Uniform routing makes it the coefficient for any k.
    - `router_z`, coefficient times the mean of $ (\log \sum_m e^{w_m \cdot x_t})^2 $ (ST-MoE,
      https://arxiv.org/abs/2202.08906), which keeps logits small.

    Args:
        d_model: D.
        n_modules: M.
        top_k: k.
        normalize: whether the k confidences sum to 1.
        balance_coefficient: of `load_balance`; 0 leaves it out.
        z_coefficient: of `router_z`; 0 leaves it out.
        jitter: in training the router sees x times uniform noise in [1 - jitter, 1 + jitter] (Switch).

    Raises:
        ValueError: if `top_k` is not in [1, n_modules], or is 1 with `normalize`, where the confidence would
            always be 1 and the router without gradient.

    Example:
        >>> routing = TopKRouter(16, n_modules=8, top_k=2)(torch.randn(2, 5, 16))
        >>> routing.active.sum(-1).unique(), sorted(routing.losses)
        (tensor([2]), ['load_balance', 'router_z'])
    """

    element_wise = True

    def __init__(
        self,
        d_model: int,
        *,
        n_modules: int,
        top_k: int,
        normalize: bool = True,
        balance_coefficient: float = 0.01,
        z_coefficient: float = 0.001,
        jitter: float = 0.0,
    ) -> None:
        super().__init__(n_modules)
        check_sizes(d_model=d_model, top_k=top_k)
        if top_k > n_modules:
            raise ValueError(f"top_k must be between 1 and n_modules={n_modules}, got {top_k}")
        if normalize and top_k == 1:
            raise ValueError(
                "with top_k=1 a normalised confidence is always 1, and the router gets no gradient; "
                "pass normalize=False"
            )
        self.top_k = top_k
        self.max_rate = top_k / n_modules
        self.normalize = normalize
        self.balance_coefficient = balance_coefficient
        self.z_coefficient = z_coefficient
        self.jitter = jitter
        self.d_model = d_model
        self.projection = linear(d_model, n_modules, bias=False)

    @override
    def forward(self, x: Tensor, mask: Tensor | None = None) -> Routing:
        x = check_input(x, mask, self.d_model)
        if self.training and self.jitter > 0:
            noise = torch.empty_like(x, dtype=at_least_float32(x.dtype))
            x = x * noise.uniform_(1 - self.jitter, 1 + self.jitter)
        logits = in_float32(self.projection, x)
        chosen = torch.zeros_like(logits, dtype=torch.bool).scatter(-1, logits.topk(self.top_k).indices, True)
        chosen = replayed(chosen)
        active = mask_padding(chosen, mask)
        scores = logits.masked_fill(~chosen, -torch.inf) if self.normalize else logits
        return Routing(active, scores.softmax(-1), self._losses(logits, active, mask))

    def _losses(self, logits: Tensor, active: Tensor, mask: Tensor | None) -> dict[str, Tensor]:
        if not (self.balance_coefficient > 0 or self.z_coefficient > 0):
            return {}
        each = logits.softmax(-1), active.to(logits), logits.logsumexp(-1, keepdim=True).square()
        means, _ = mean_over_real(torch.cat(each, -1), mask, over_ranks=self.training)
        probability, rate, square = torch.split(means, [self.n_modules, self.n_modules, 1])
        losses = {}
        if self.balance_coefficient > 0:
            share = rate / self.top_k
            losses["load_balance"] = self.balance_coefficient * self.n_modules * (share * probability).sum()
        if self.z_coefficient > 0:
            losses["router_z"] = self.z_coefficient * square.sum()
        return losses


class ExpertChoiceRouter(Router):
    r"""Every module activates the elements that it scores highest, a fixed share of each row.

    $$ a_t^m = [t \in \text{top-}k(c^m)], \qquad k = \lceil \text{capacity} \cdot n \rceil, \qquad
       c_t = \operatorname{softmax}(W x_t) \;\text{ or }\; \sigma(W x_t) $$

    for a row of n real elements (https://arxiv.org/abs/2202.09368, which chooses from a whole batch instead
    of each row). Load is balanced by construction. The choice looks at the whole row, so `causal` is False.

    With `d_predictor` a small network learns, from an element alone, whether it will be chosen, by the binary
    cross-entropy `choice_predictor` (https://arxiv.org/abs/2404.02258, Sec. 3.5); it sees the input without
    gradient. `step` then decides by it. Decoding is in that case possible though `causal` is False, but it
    approximates: its decisions are the predictor's, not `forward`'s.

    Args:
        d_model: D.
        n_modules: M.
        capacity: share of a row's elements that each module takes, in (0, 1].
        softmax: whether confidences are a softmax over modules, as in the paper, instead of independent
            sigmoids. A softmax needs at least two modules.
        d_predictor: hidden width of the predictor; None for no predictor.

    Raises:
        ValueError: if `capacity` is not in (0, 1], or `softmax` is set for a single module.

    Example:
        >>> routing = ExpertChoiceRouter(16, n_modules=2, capacity=0.25)(torch.randn(3, 8, 16))
        >>> routing.active.sum(1).unique()
        tensor([2])
    """

    causal = False

    def __init__(
        self,
        d_model: int,
        *,
        n_modules: int,
        capacity: float,
        softmax: bool = False,
        d_predictor: int | None = None,
    ) -> None:
        super().__init__(n_modules)
        check_sizes(d_model=d_model)
        if not 0 < capacity <= 1:
            raise ValueError(f"capacity is a share of a row and must be in (0, 1], got {capacity}")
        if softmax and n_modules == 1:
            raise ValueError("a softmax over n_modules=1 is always 1; leave softmax False")
        self.capacity = self.max_rate = capacity
        self._share = Share.of(capacity)
        self.score: Callable[[Tensor], Tensor] = _softmax if softmax else torch.sigmoid
        self.d_model = d_model
        self.projection = linear(d_model, n_modules)
        self.predictor = None if d_predictor is None else _Predictor(d_model, d_predictor, n_modules)

    @property
    @override
    def predicts(self) -> bool:
        return self.predictor is not None

    @override
    def forward(self, x: Tensor, mask: Tensor | None = None) -> Routing:
        confidence = self._confidence(x, mask)
        active = replayed(self._choose(confidence.detach(), mask))
        if self.predictor is None:
            return Routing(active, confidence)
        logits = self.predictor(x, mask)
        errors = F.binary_cross_entropy_with_logits(logits, active.to(logits), reduction="none")
        loss, _ = mean_over_real(errors, mask, over_ranks=self.training)
        # Without the loss the predictor would get no gradient at all: this gives it a zero tensor.
        confidence = torch.where(torch.ones_like(active), confidence, logits)
        return Routing(active, confidence, {"choice_predictor": loss.mean()})

    @override
    def init_state(
        self, batch_size: int, *, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> State:
        """The state of the predictor.

        Raises:
            NotImplementedError: without a predictor.
        """
        if self.predictor is None:
            raise NotImplementedError(
                "ExpertChoiceRouter compares an element with later ones, so it cannot decode step by step; "
                "train it with a predictor (d_predictor=...), which decides in decoding"
            )
        return NoState()

    @override
    def step(self, x: Tensor, state: State, mask: Tensor | None = None) -> Routing:
        """Decisions are the predictor's, confidences those of `forward`."""
        if self.predictor is None:
            return super().step(x, state, mask)
        active = mask_padding(self.predictor(x, mask) > 0, mask)
        return Routing(active, self._confidence(x, mask))

    def _confidence(self, x: Tensor, mask: Tensor | None) -> Tensor:
        return self.score(in_float32(self.projection, check_input(x, mask, self.d_model)))

    def _choose(self, scores: Tensor, mask: Tensor | None) -> Tensor:
        """`(B, L, M)` bool: the highest of each row and module; of equals, the earlier."""
        if mask is None:
            n_real = torch.full((len(scores),), scores.shape[1], device=scores.device)
        else:
            n_real = mask.sum(1)
            scores = scores.masked_fill(~mask.unsqueeze(-1), -1)
        k = self._share.round_up(n_real)
        order = scores.argsort(dim=1, descending=True, stable=True)
        places = torch.arange(scores.shape[1], device=scores.device)[None, :, None].expand_as(order)
        rank = torch.empty_like(order).scatter(1, order, places)
        return mask_padding(rank < k[:, None, None], mask)


class _Predictor(nn.Module):
    """Logits `(B, L, M)` of "will be chosen", from each element alone."""

    def __init__(self, d_model: int, d_hidden: int, n_modules: int) -> None:
        super().__init__()
        self.hidden = linear(d_model, d_hidden)
        self.out = linear(d_hidden, n_modules)

    @override
    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        hidden = in_float32(self.hidden, x.detach())
        return in_float32(self.out, F.silu(hidden))


def _softmax(logits: Tensor) -> Tensor:
    return logits.softmax(-1)
