"""A request to a running batch: its prompt, and the tokens that are made for it."""

from dataclasses import dataclass, field
from typing import Literal

import torch

from sma.decoding.sampling import Sampling

Ending = Literal["length", "stop", "cancelled", "failed"]


@dataclass(eq=False)
class Stream:
    """One request to a `Batch`, from `Batch.add` on.

    Attributes:
        prompt: the tokens that it begins with.
        settings: how the others are chosen.
        tokens: those made so far.
        ending: why it ended: after `n_tokens` (length), by a stop token, by `Batch.cancel`, or because the
            model's scores were not finite (failed); None while it goes on.
        error: what failed; None otherwise.
    """

    prompt: tuple[int, ...]
    settings: Sampling
    tokens: list[int] = field(default_factory=list)
    ending: Ending | None = None
    error: str | None = None
    n_read: int = 0
    """Tokens of the prompt that the model has read."""
    generator: torch.Generator = field(default_factory=torch.Generator, repr=False)

    def __post_init__(self) -> None:
        self.generator.manual_seed(self.settings.seed)
        if self.settings.n_tokens == 0:
            self.ending = "length"

    def take(self, token: int) -> None:
        """Add a token, which may be the last."""
        self.tokens.append(token)
        if token in self.settings.stop:
            self.ending = "stop"
        elif len(self.tokens) == self.settings.n_tokens:
            self.ending = "length"
