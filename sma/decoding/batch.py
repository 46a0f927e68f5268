"""A running batch, which requests join and leave at any step."""

from collections import deque
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from sma.checks import check_sizes
from sma.decoding.sampling import Sampling, choose
from sma.decoding.stream import Stream


class Decoder(Protocol):
    """A language model that a `Batch` runs, as `sma.architectures.SequenceModel` is."""

    def init_state(self, batch_size: int) -> Any:
        """The `State` of rows before their first token."""

    def prefill(self, inputs: Tensor, mask: Tensor | None, state: Any) -> tuple[Tensor, Any]:
        """`(B, L)` tokens to scores `(B, L, V)`, and the state, advanced in place."""

    def step(self, inputs: Tensor, state: Any) -> Tensor:
        """`(B,)` tokens to scores `(B, V)`, advancing the state in place."""


class Batch:
    """Requests decoded together; each is equal to itself alone, up to rounding.

    The states of all rows are allocated once. A request gets a row as soon as one is free, in the order of
    arrival. Its prompt is read in chunks between the steps of those that already write: in each step, the
    prompts that are being read share `chunk` elements, so that a long one delays neither them nor each other.

    Args:
        model: a language model in evaluation mode; its device is used.
        max_rows: most requests at once; others wait.
        chunk: elements of prompts to read per step, at least one of each prompt. More read prompts sooner,
            fewer make the gaps between the tokens of other streams shorter.

    Raises:
        ValueError: if the model does not decode tokens, or a size is less than 1.

    Example:
        >>> from sma.architectures import seqboat
        >>> model = seqboat(vocab_size=256, d_model=16, n_layers=2).build().eval()
        >>> batch = Batch(model, max_rows=2)
        >>> streams = [batch.add(text, Sampling(n_tokens=3)) for text in (b"one", b"two", b"three")]
        >>> for stream, token in batch:  # until all have ended; `step` advances each by a token
        ...     pass
        >>> [(len(stream.tokens), stream.ending) for stream in streams]
        [(3, 'length'), (3, 'length'), (3, 'length')]
    """

    def __init__(self, model: Decoder, max_rows: int, *, chunk: int = 512) -> None:
        check_sizes(max_rows=max_rows, chunk=chunk)
        self.model = model
        self.max_rows = max_rows
        self.chunk = chunk
        self.vocab_size = _vocab_size(model)
        self.longest_row = _longest_row(model)
        self._state = model.init_state(max_rows)
        self._waiting: deque[Stream] = deque()
        self._running: list[Stream] = []  # the first rows of the state
        self._reading: list[Stream] = []  # the rows behind them
        self._views: dict[
            int, Any
        ] = {}  # that many first rows: a step keeps what it computes once beside them

    def __len__(self) -> int:
        """The streams that have not ended."""
        return len(self._waiting) + len(self._reading) + len(self._running)

    def __iter__(self) -> Iterator[tuple[Stream, int]]:
        """Steps until all streams have ended, those added meanwhile included."""
        while len(self):
            yield from self.step()

    def add(self, prompt: Sequence[int] | Tensor, settings: Sampling | None = None) -> Stream:
        """A new stream, which waits for a row.

        Args:
            prompt: tokens, at least one; a text that begins from nothing has a token for its beginning.
            settings: how tokens are chosen, and when the stream ends.

        Raises:
            ValueError: if the prompt is empty, has a token that is not in the vocabulary, or makes a row that
                is longer than the model decodes.
        """
        settings = Sampling() if settings is None else settings
        tokens = tuple(map(int, prompt))
        if not tokens:
            raise ValueError("prompt is empty; give at least one token, such as the one that begins a text")
        wrong = next((token for token in tokens if not 0 <= token < self.vocab_size), None)
        if wrong is not None:
            raise ValueError(
                f"prompt has the token {wrong}, which is not in the vocabulary, 0 to {self.vocab_size - 1}; "
                "encode it with the model's own tokenizer"
            )
        longest = len(tokens) + settings.n_tokens - 1  # the last token is not read
        if self.longest_row is not None and longest > self.longest_row:
            raise ValueError(
                f"prompt of {len(tokens)} tokens and n_tokens={settings.n_tokens} make a row of {longest}, "
                f"more than the {self.longest_row} that the model decodes; lower n_tokens, or build with a "
                "larger max_positions"
            )
        stream = Stream(tokens, settings)
        if stream.ending is None:
            self._waiting.append(stream)
        return stream

    def cancel(self, stream: Stream) -> None:
        """End a stream before its time; one that has ended stays as it is."""
        if stream.ending is not None:
            return
        stream.ending = "cancelled"
        if stream in self._waiting:
            self._waiting.remove(stream)
        else:
            self._remove_ended()

    @torch.no_grad()
    def step(self) -> list[tuple[Stream, int]]:
        """Advance every stream that has a row: by a token, or by a part of its prompt.

        Returns:
            Each stream that got a token, and the token; `Stream.ending` says whether it was the last.

        Raises:
            ValueError: if the model is in training mode.
        """
        if getattr(self.model, "training", False):
            raise ValueError("the model is in training mode, with dropout; call its eval() before a step")
        self._admit()
        made = [*self._write(), *self._read()]
        self._remove_ended()
        return made

    def _admit(self) -> None:
        """Give free rows to streams that wait."""
        first = len(self._running) + len(self._reading)
        n_new = min(self.max_rows - first, len(self._waiting))
        if n_new:
            self._state.insert(torch.arange(first, first + n_new), self.model.init_state(n_new))
            self._reading += [self._waiting.popleft() for _ in range(n_new)]

    def _write(self) -> list[tuple[Stream, int]]:
        """A token for every running stream."""
        if not self._running:
            return []
        n_rows = len(self._running)
        if n_rows not in self._views:
            self._views[n_rows] = self._state.narrow(0, n_rows)
        last = self._tensor([stream.tokens[-1] for stream in self._running])
        return self._take(self._running, self.model.step(last, self._views[n_rows]))

    def _read(self) -> list[tuple[Stream, int]]:
        """The next part of all prompts that are being read, and a token for those that are at their end."""
        reading = self._reading
        if not reading:
            return []
        share = max(1, self.chunk // len(reading))
        parts = [stream.prompt[stream.n_read :][:share] for stream in reading]
        n_longest = max(map(len, parts))
        tokens = self._tensor([[*part, *[0] * (n_longest - len(part))] for part in parts])
        mask = self._tensor([[i < len(part) for i in range(n_longest)] for part in parts])
        whole = all(len(part) == n_longest for part in parts)
        state = self._state.narrow(len(self._running), len(reading))
        scores, _ = self.model.prefill(tokens, None if whole else mask, state)
        for stream, part in zip(reading, parts, strict=True):
            stream.n_read += len(part)
        ended = [row for row, stream in enumerate(reading) if stream.n_read == len(stream.prompt)]
        streams = [reading[row] for row in ended]
        self._start(streams)
        return self._take(streams, scores[ended, [len(parts[row]) - 1 for row in ended]])

    def _take(self, streams: Sequence[Stream], scores: Tensor) -> list[tuple[Stream, int]]:
        """Choose a token for each stream by its scores `(B, V)`."""
        if not streams:
            return []
        finite = scores.isfinite()
        wrong = (~finite.all(-1)).tolist()
        generators = [stream.generator for stream in streams]
        tokens = choose(scores.masked_fill(~finite, 0), [stream.settings for stream in streams], generators)
        made = []
        for row, (stream, token) in enumerate(zip(streams, tokens, strict=True)):
            if wrong[row]:
                value = scores[row][~finite[row]][0].item()
                stream.ending, stream.error = "failed", _not_finite(value)
            else:
                stream.take(token)
                made.append((stream, token))
        return made

    def _start(self, streams: Sequence[Stream]) -> None:
        """Let streams that were being read run: their rows come first among those that are."""
        reading = self._reading.copy()
        for row, stream in enumerate(streams):
            other = reading.index(stream)
            reading[row], reading[other] = reading[other], reading[row]
        self._arrange([*self._running, *reading[: len(streams)]], reading[len(streams) :])

    def _remove_ended(self) -> None:
        """Free the rows of streams that have ended; as few others as possible are moved."""
        running, reading = _without_ended(self._running), _without_ended(self._reading)
        if len(running) + len(reading) == len(self._running) + len(self._reading):
            return
        n_moved = min(len(self._running) - len(running), len(reading))
        split = len(reading) - n_moved
        self._arrange(running, [*reading[split:], *reading[:split]])

    def _arrange(self, running: list[Stream], reading: list[Stream]) -> None:
        """Put the rows of these streams, all of which have one, into this order."""
        before = {stream: row for row, stream in enumerate(chain(self._running, self._reading))}
        moved = [
            (row, before[stream])
            for row, stream in enumerate(chain(running, reading))
            if before[stream] != row
        ]
        if moved:
            to, source = (torch.tensor(rows) for rows in zip(*moved, strict=True))
            self._state.insert(to, self._state.select(source))
        self._running, self._reading = running, reading

    def _tensor(self, values: Any) -> Tensor:
        return torch.tensor(values, device=_device(self.model))


def _without_ended(streams: list[Stream]) -> list[Stream]:
    """The streams that go on, those at the end in the places of those that do not."""
    kept = [stream for stream in streams if stream.ending is None]
    spare = iter(kept[::-1])
    return [next(spare) if stream.ending is not None else stream for stream in streams[: len(kept)]]


def _not_finite(value: float) -> str:
    return (
        f"the model scores a token by {value}, so none can be chosen; its weights or activations are not "
        "finite: use other weights, such as those of an earlier checkpoint"
    )


def _device(model: Any) -> torch.device | None:
    return next(model.parameters()).device if isinstance(model, nn.Module) else None


@torch.no_grad()
def _vocab_size(model: Any) -> int:
    """The number of tokens that a model scores."""
    remedy = "use a language model over tokens"
    if not all(hasattr(model, name) for name in ("init_state", "prefill", "step")):
        raise ValueError(f"model={type(model).__name__} does not decode step by step; {remedy}")
    tokens = torch.zeros(1, 1, dtype=torch.long, device=_device(model))
    try:
        scores, _ = model.prefill(tokens, None, model.init_state(1))
    except (NotImplementedError, ValueError) as error:
        raise ValueError(f"model={type(model).__name__} does not decode tokens: {error}; {remedy}") from error
    if scores.dim() != 3 or scores.shape[:2] != (1, 1):
        raise ValueError(
            f"model={type(model).__name__} gives {tuple(scores.shape)} for one token instead of (1, 1, V), "
            f"scores of the next; {remedy}"
        )
    return scores.shape[-1]


def _longest_row(model: Any) -> int | None:
    """The most elements of a row that every part of a model decodes; None if there is no limit."""
    parts = model.modules() if isinstance(model, nn.Module) else ()
    limits = [getattr(part, "longest_row", None) for part in parts]
    return min((limit for limit in limits if limit is not None), default=None)
