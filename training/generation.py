"""Text from a byte-level language model."""

from collections.abc import Iterator

import torch
from torch import Tensor

from sma.architectures import SequenceModel
from sma.training.evaluation import evaluating


def generate(
    model: SequenceModel,
    prompt: bytes,
    *,
    n_tokens: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int = 0,
) -> Iterator[int]:
    """Bytes after a prompt, one by one; ends early where the model ends the file.

    The model's state is carried along, so a byte costs the same however long the text is.

    Args:
        model: a language model over bytes.
        prompt: where to start; a file starts with b"".
        n_tokens: the most bytes to make.
        temperature: divides the scores; 0 always takes the most probable byte.
        top_k: choose among the k most probable bytes only.
        top_p: choose among the fewest bytes whose probabilities sum to at least this.
        seed: of the choices.

    Raises:
        ValueError: if an argument is out of range; the message names it.
    """
    _check(temperature, top_k, top_p)
    generator = torch.Generator().manual_seed(seed)
    device = next(model.parameters()).device
    with evaluating(model), torch.no_grad():
        logits, state = model.prefill(torch.tensor([[0, *prompt]], device=device))
        scores = logits[0, -1]
        for _ in range(n_tokens):
            byte = choose(scores.float().cpu(), generator, temperature=temperature, top_k=top_k, top_p=top_p)
            if byte == 0:
                return
            yield byte
            scores = model.step(torch.tensor([byte], device=device), state)[0]


def choose(
    scores: Tensor,
    generator: torch.Generator,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
) -> int:
    """One class, drawn by its score `(C,)`; arguments as in `generate`."""
    if temperature == 0:
        return int(scores.argmax())
    ordered, index = (scores / temperature).sort(descending=True, stable=True)
    probability = ordered.softmax(0)
    kept = torch.ones_like(probability, dtype=torch.bool)
    if top_k is not None:
        kept[top_k:] = False
    if top_p is not None:
        kept &= probability.cumsum(0) - probability < top_p
    place = torch.multinomial(probability.masked_fill(~kept, 0), 1, generator=generator)
    return int(index[place])


def _check(temperature: float, top_k: int | None, top_p: float | None) -> None:
    if not 0 <= temperature < float("inf"):
        raise ValueError(f"temperature must be a finite number of at least 0, got {temperature}")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k must be at least 1, got {top_k}; leave it out for no limit")
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"top_p must be in (0, 1], got {top_p}; leave it out for no limit")
