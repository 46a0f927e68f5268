"""Choice of tokens by their scores: greedy, by temperature, among the most probable."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How the tokens of a stream are chosen, and when it ends.

    Args:
        n_tokens: the most tokens to make.
        temperature: divides the scores; 0 always takes the most probable token.
        top_k: choose among the k most probable tokens only.
        top_p: choose among the fewest tokens whose probabilities sum to at least this.
        stop: tokens that end a stream; the one that does is its last.
        seed: of the choices.

    Raises:
        ValueError: if a number is out of range; the message names it.

    Example:
        >>> Sampling(n_tokens=20, temperature=0.8, top_p=0.9, stop=(0,), seed=3).top_p
        0.9
        >>> Sampling(top_p=9)
        Traceback (most recent call last):
        ValueError: top_p must be in (0, 1], got 9; leave it out for no limit
    """

    n_tokens: int = 256
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    stop: tuple[int, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        if self.n_tokens < 0:
            raise ValueError(f"n_tokens must be at least 0, got {self.n_tokens}")
        if not 0 <= self.temperature < float("inf"):
            raise ValueError(f"temperature must be a finite number of at least 0, got {self.temperature}")
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(f"top_k must be at least 1, got {self.top_k}; leave it out for no limit")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must be in (0, 1], got {self.top_p}; leave it out for no limit")
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"seed must be at least 0 and less than 2**63, got {self.seed}")

    @property
    def is_limited(self) -> bool:
        """Whether only the most probable tokens are chosen among, which have to be found first."""
        return self.top_k is not None or self.top_p is not None


def choose(scores: Tensor, settings: Sequence[Sampling], generators: Sequence[torch.Generator]) -> list[int]:
    """One class per row; a row's choice does not depend on the other rows.

    Args:
        scores: `(B, C)`, finite.
        settings: of every row.
        generators: of every row, on the CPU; a row of temperature 0 leaves its own as it is.

    Returns:
        B classes.

    Example:
        >>> scores = torch.tensor([[0.0, 3.0, 1.0]])
        >>> choose(scores, [Sampling(top_k=1)], [torch.Generator()])
        [1]
    """
    scores = scores.double().cpu()
    chosen = scores.argmax(-1)
    for limited in (False, True):
        rows = [
            row
            for row, setting in enumerate(settings)
            if setting.temperature > 0 and setting.is_limited == limited
        ]
        if rows:
            uniform = torch.cat([_uniform(generators[row]) for row in rows])
            chosen[rows] = _drawn(scores[rows], [settings[row] for row in rows], uniform, limited)
    return chosen.tolist()


def _uniform(generator: torch.Generator) -> Tensor:
    return torch.rand(1, generator=generator, dtype=torch.float64)


def _drawn(scores: Tensor, settings: Sequence[Sampling], uniform: Tensor, limited: bool) -> Tensor:
    """Classes `(B,)` whose intervals of cumulated probability hold the uniform numbers `(B,)`."""
    tiny = torch.finfo(scores.dtype).tiny
    temperature = scores.new_tensor([[max(setting.temperature, tiny)] for setting in settings])
    relative = (scores - scores.amax(-1, keepdim=True)) / temperature
    if not limited:
        return _interval(relative.softmax(-1), uniform)
    ordered, index = relative.sort(descending=True, stable=True)
    probability = ordered.softmax(-1)
    n_classes = scores.shape[-1]
    top_k = torch.tensor([[setting.top_k or n_classes] for setting in settings])
    top_p = scores.new_tensor([[setting.top_p or 2.0] for setting in settings])
    before = probability.cumsum(-1) - probability
    rank = torch.arange(n_classes)
    kept = (rank < top_k) & ((before < top_p) | (rank == 0))  # the first, however small top_p
    place = _interval(probability.masked_fill(~kept, 0), uniform)
    return index.gather(-1, place[:, None])[:, 0]


def _interval(weight: Tensor, uniform: Tensor) -> Tensor:
    """The class in which a share `uniform` of the total weight is reached; never one of weight 0."""
    cumulated = weight.cumsum(-1)
    place = torch.searchsorted(cumulated, uniform[:, None] * cumulated[:, -1:], right=True)[:, 0]
    last = weight.shape[-1] - 1 - (weight.flip(-1) > 0).long().argmax(-1)
    return torch.minimum(place, last)
