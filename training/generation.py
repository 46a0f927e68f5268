"""Text from a byte-level language model."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sma.architectures import SequenceModel
from sma.training.tasks.running import evaluating


def generate(
    model: nn.Module,
    prompt: bytes,
    *,
    n_tokens: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int = 0,
    stop: Sequence[bytes] = (),
) -> Iterator[int]:
    """Bytes after a prompt, one by one; ends early where the model ends the file, or before a stop string.

    The model's state is carried along, so a byte costs the same however long the text is.

    Args:
        model: a language model over bytes: a `SequenceModel` that scores the next of 256 at every element.
        prompt: where to start; a file starts with b"".
        n_tokens: the most bytes to make.
        temperature: divides the scores; 0 always takes the most probable byte.
        top_k: choose among the k most probable bytes only.
        top_p: choose among the fewest bytes whose probabilities sum to at least this.
        seed: of the choices.
        stop: what ends the text. It is not part of it, so a byte that may begin one waits for the next.

    Raises:
        ValueError: if `model` is not such a model, or an argument is out of range; the message names it.
    """
    _check(n_tokens, temperature, top_k, top_p, seed, stop)
    choice: dict[str, Any] = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
    return _before(
        stop, _bytes(_checked(model), prompt, n_tokens, torch.Generator().manual_seed(seed), choice)
    )


def _bytes(
    model: SequenceModel, prompt: bytes, n_tokens: int, generator: torch.Generator, choice: dict[str, Any]
) -> Iterator[int]:
    device = next(model.parameters()).device
    with evaluating(model), torch.no_grad():
        logits, state = model.prefill(torch.tensor([[0, *prompt]], device=device))
        scores = logits[0, -1]
        for _ in range(n_tokens):
            byte = choose(scores.float().cpu(), generator, **choice)
            if byte == 0:
                return
            yield byte
            scores = model.step(torch.tensor([byte], device=device), state)[0]


def _before(stop: Sequence[bytes], text: Iterator[int]) -> Iterator[int]:
    """The text before the first of the stop strings."""
    held = b""  # what may be the beginning of one
    for byte in text:
        held += bytes([byte])
        ended = max((len(end) for end in stop if held.endswith(end)), default=0)
        if ended:
            yield from held[:-ended]
            return
        waiting = max((n for end in stop for n in range(len(end)) if held.endswith(end[:n])), default=0)
        yield from held[: len(held) - waiting]
        held = held[len(held) - waiting :]
    yield from held


def choose(
    scores: Tensor,
    generator: torch.Generator,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
) -> int:
    """One class, drawn by its score `(C,)`; arguments as in `generate`.

    Raises:
        ValueError: if a score is not a finite number.
    """
    if not scores.isfinite().all():
        wrong = scores[~scores.isfinite()][0].item()
        raise ValueError(
            f"the model scores a byte by {wrong}, so none can be chosen; its weights or activations are not "
            "finite: use other weights, such as those of an earlier checkpoint"
        )
    if temperature == 0:
        return int(scores.argmax())
    relative = (scores - scores.max()) / max(temperature, torch.finfo(scores.dtype).tiny)
    ordered, index = relative.sort(descending=True, stable=True)
    probability = ordered.softmax(0)
    kept = torch.ones_like(probability, dtype=torch.bool)
    if top_k is not None:
        kept[top_k:] = False
    if top_p is not None:
        kept[1:] &= (probability.cumsum(0) - probability < top_p)[1:]  # the first, however small top_p
    place = torch.multinomial(probability.masked_fill(~kept, 0), 1, generator=generator)
    return int(index[place])


def _checked(model: nn.Module) -> SequenceModel:
    remedy = "it cannot write; train a language model over bytes with: sma train"
    if not isinstance(model, SequenceModel):
        raise ValueError(f"the model is a {type(model).__name__}, not a SequenceModel, so {remedy}")
    head = model.spec.head
    if not head.needs_causal:
        raise ValueError(f"head {head.kind} does not predict the next element (needs_causal), so {remedy}")
    with evaluating(model), torch.no_grad():
        try:
            scores, _ = model.prefill(
                torch.zeros(1, 1, dtype=torch.long, device=next(model.parameters()).device)
            )
        except NotImplementedError as error:
            raise ValueError(f"{error}; so {remedy}") from error
    if scores.shape != (1, 1, 256):
        raise ValueError(
            f"the model gives {tuple(scores.shape)} for one byte instead of (1, 1, 256), a score for each "
            f"that may follow, so {remedy}"
        )
    return model


def _check(
    n_tokens: int,
    temperature: float,
    top_k: int | None,
    top_p: float | None,
    seed: int,
    stop: Sequence[bytes],
) -> None:
    if n_tokens < 0:
        raise ValueError(f"n_tokens must be at least 0, got {n_tokens}")
    if not 0 <= temperature < float("inf"):
        raise ValueError(f"temperature must be a finite number of at least 0, got {temperature}")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k must be at least 1, got {top_k}; leave it out for no limit")
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"top_p must be in (0, 1], got {top_p}; leave it out for no limit")
    if not 0 <= seed < 2**63:  # as in `TrainSpec`
        raise ValueError(f"seed must be at least 0 and less than 2**63, got {seed}")
    if not all(stop):
        raise ValueError("stop must not contain an empty string: every text ends with one; leave it out")
