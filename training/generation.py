"""Text from a byte-level language model."""

from collections.abc import Iterator, Sequence

from torch import nn

from sma.architectures import SequenceModel
from sma.decoding import Batch, Sampling, Stream, decoder
from sma.training.tasks.running import evaluating

BOUNDARY = 0
"""The byte between files: before the first byte of a text, and after its last."""
CHUNK = 2048
"""Bytes of a prompt that are read at once."""


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

    The model's state is carried along, so a byte costs the same however long the text is; for very long texts
    the step is compiled.

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
    if not all(stop):
        raise ValueError("stop must not contain an empty string: every text ends with one; leave it out")
    settings = Sampling(
        n_tokens=n_tokens,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        stop=(BOUNDARY,),
        seed=seed,
    )
    batch = _batch(model, n_tokens)
    return _before(stop, _bytes(batch, model, batch.add([BOUNDARY, *prompt], settings)))


def _bytes(batch: Batch, model: nn.Module, stream: Stream) -> Iterator[int]:
    with evaluating(model):
        for _, byte in batch:
            if byte != BOUNDARY:
                yield byte
    if stream.error is not None:
        raise ValueError(stream.error)


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


def _batch(model: nn.Module, n_tokens: int) -> Batch:
    remedy = "it cannot write; train a language model over bytes with: sma train"
    if not isinstance(model, SequenceModel):
        raise ValueError(f"the model is a {type(model).__name__}, not a SequenceModel, so {remedy}")
    head = model.spec.head
    if not head.needs_causal:
        raise ValueError(f"head {head.kind} does not predict the next element (needs_causal), so {remedy}")
    with evaluating(model):
        batch = Batch(decoder(model, n_steps=n_tokens), max_rows=1, chunk=CHUNK)
    if batch.vocab_size != 256:
        raise ValueError(
            f"the model scores {batch.vocab_size} tokens instead of 256, one for each byte that may follow, "
            f"so {remedy}"
        )
    return batch
