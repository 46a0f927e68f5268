"""64 requests that arrive at random: a running batch against batches that wait for their slowest row.

    python -m benchmarks.serving [--threads 2] [--rounds 3] [--streams 64]

Six layers, D 256, as initialised, greedy. Prompts of 8 to 512 tokens and answers of 8 to 128 arrive at
exponential intervals; both sides get the same of them at the same times, in real time, and have at most
`MAX_ROWS` rows. A batch that waits takes those that have arrived, reads their prompts padded, and steps until
the last has ended.
"""

import argparse
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median, quantiles

import torch

from benchmarks.decoding import language_model
from sma.architectures import SequenceModel
from sma.decoding import Batch, Sampling

MAX_ROWS, INTERVAL = 16, 0.06


@dataclass(frozen=True)
class Request:
    """A prompt, the number of tokens wanted, and when it arrives."""

    prompt: list[int]
    n_tokens: int
    arrival: float


@dataclass(frozen=True)
class Served:
    """Of one request: seconds to its first and last token, and the longest between two tokens."""

    first: float
    last: float
    gap: float


@dataclass(frozen=True)
class Result:
    """Tokens per second, and seconds that 95 of 100 requests do not exceed."""

    speed: float
    first: float
    last: float
    gap: float


Events = Iterator[list[tuple[int, int]]]
"""After every step of a side: the numbers of the requests that got a token, and the token."""


def random_requests(n: int, seed: int = 0) -> list[Request]:
    numbers = random.Random(seed)
    arrival, made = 0.0, []
    for _ in range(n):
        arrival += numbers.expovariate(1 / INTERVAL)
        prompt = [numbers.randrange(1, 256) for _ in range(numbers.choice((8, 32, 128, 512)))]
        made.append(Request(prompt, numbers.randint(8, 128), arrival))
    return made


def running(model: SequenceModel, requests: Sequence[Request], arrived: "Arrivals") -> Events:
    """A running batch."""
    batch, numbers = Batch(model, MAX_ROWS), {}
    while len(numbers) < len(requests) or len(batch):
        for number in arrived(wait=not len(batch)):
            request = requests[number]
            sampling = Sampling(n_tokens=request.n_tokens, temperature=0)
            numbers[batch.add(request.prompt, sampling)] = number
        yield [(numbers[stream], token) for stream, token in batch.step()]


@torch.no_grad()
def waiting(model: SequenceModel, requests: Sequence[Request], arrived: "Arrivals") -> Events:
    """Batches that wait for their slowest row."""
    queue: list[int] = []
    n_taken = 0
    while n_taken < len(requests):
        queue += arrived(wait=not queue)
        rows, queue = queue[:MAX_ROWS], queue[MAX_ROWS:]
        n_taken += len(rows)
        lengths = torch.tensor([len(requests[number].prompt) for number in rows])
        tokens = torch.zeros(len(rows), int(lengths.max()), dtype=torch.long)
        for row, number in enumerate(rows):
            tokens[row, : lengths[row]] = torch.tensor(requests[number].prompt)
        mask = torch.arange(tokens.shape[1]) < lengths[:, None]
        scores, state = model.prefill(tokens, mask)
        scores = scores[torch.arange(len(rows)), lengths - 1]
        for n_made in range(max(requests[number].n_tokens for number in rows)):
            chosen = scores.argmax(-1)
            yield [
                (number, int(token))
                for number, token in zip(rows, chosen, strict=True)
                if n_made < requests[number].n_tokens
            ]
            scores = model.step(chosen, state)


class Arrivals:
    """Requests as time goes by."""

    def __init__(self, requests: Sequence[Request]) -> None:
        self.requests = requests
        self.start = time.perf_counter()
        self.n_seen = 0

    def now(self) -> float:
        return time.perf_counter() - self.start

    def __call__(self, *, wait: bool) -> list[int]:
        """Numbers of the requests that have arrived since the last call; at least one where it waits."""
        if wait and self.n_seen < len(self.requests):
            time.sleep(max(0.0, self.requests[self.n_seen].arrival - self.now()))
        first, now = self.n_seen, self.now()
        while self.n_seen < len(self.requests) and self.requests[self.n_seen].arrival <= now:
            self.n_seen += 1
        return list(range(first, self.n_seen))


def serve(
    side: Callable[[SequenceModel, Sequence[Request], Arrivals], Events],
    model: SequenceModel,
    requests: Sequence[Request],
) -> tuple[Result, list[list[int]]]:
    """What one side does with requests: figures, and the tokens of each."""
    arrivals = Arrivals(requests)
    times: list[list[float]] = [[] for _ in requests]
    tokens: list[list[int]] = [[] for _ in requests]
    for made in side(model, requests, arrivals):
        now = arrivals.now()
        for number, token in made:
            times[number].append(now)
            tokens[number].append(token)
    served = [
        Served(
            at[0] - request.arrival,
            at[-1] - request.arrival,
            max(later - before for before, later in pairwise(at)),
        )
        for request, at in zip(requests, times, strict=True)
    ]
    speed = sum(map(len, tokens)) / max(at[-1] for at in times)
    slowest = (_p95([getattr(one, name) for one in served]) for name in ("first", "last", "gap"))
    return Result(speed, *slowest), tokens


def _p95(seconds: Sequence[float]) -> float:
    return quantiles(seconds, n=20, method="inclusive")[-1]


def report(threads: int, rounds: int, n_streams: int) -> list[str]:
    """The table, as lines of Markdown."""
    torch.set_num_threads(threads)
    model = language_model()
    sides = {"batches that wait for their slowest": waiting, "`sma.decoding.Batch`": running}
    results: dict[str, list[Result]] = {name: [] for name in sides}
    n_equal, n_tokens = 0, 0
    for seed in range(rounds):
        requests, made = random_requests(n_streams, seed), []
        for name, side in sides.items():
            result, tokens = serve(side, model, requests)
            results[name].append(result)
            made.append(tokens)
        n_equal += sum(one == other for one, other in zip(*made, strict=True))
        n_tokens += len(requests)
    lines = [
        f"{n_streams} streams, at most {MAX_ROWS} rows, {rounds} rounds; {n_equal} of {n_tokens} have "
        "the same tokens on both sides, the others differ by rounding.",
        "",
        "| | tokens per second | p95 to the last token | p95 to the first | p95 of the longest gap |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, found in results.items():
        speed, first, last, gap = (
            median(getattr(result, field) for result in found) for field in ("speed", "first", "last", "gap")
        )
        lines.append(f"| {name} | {speed:,.0f} | {last:.2f} s | {first:.2f} s | {1e3 * gap:.0f} ms |")
    return [*lines, ""]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--streams", type=int, default=64)
    options = parser.parse_args()
    print("\n".join(report(options.threads, options.rounds, options.streams)))


if __name__ == "__main__":
    main()
