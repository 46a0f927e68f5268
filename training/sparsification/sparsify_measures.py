"""Quality and cost of a sparsified model on held-out rows, beside the dense one."""

import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from sma.recording import record
from sma.training.sparsification.distillation import divergence, hidden_difference
from sma.training.sparsification.token_operations import (
    dense_operations,
    parts_share,
    saved_operations,
)
from sma.training.sparsification.token_pieces import token_pieces
from sma.transformers.sparsification.probe import is_causal

N_PASSES, FEWEST_PASSES, ENOUGH = 9, 3, 20.0
"""Passes that are timed, at most and at least, and the seconds after which no more begins."""
FEWEST = 3
"""Occurrences of a token whose rate is shown."""


@dataclass(frozen=True)
class Measures:
    """A model on held-out rows.

    Attributes:
        name: dense, learned, random or dropped.
        quality: by measure; less is better.
        operations: beside those of the dense model.
        parts: beside what the routed parts compute without skipping, as their budget counts it.
        saved: operations that were skipped.
        seconds: of the processor, for a pass over all rows: the best of several.
        time: these beside those of the dense model, measured in turns with it.
        rates: the share of tokens that each part computed, by its name.
        tokens: the share of the parts that a token computes, by its text, of those that occur often enough.
    """

    name: str
    quality: dict[str, float]
    operations: float
    parts: float
    saved: int
    seconds: float
    time: float
    rates: dict[str, float] = field(default_factory=dict)
    tokens: dict[str, float] = field(default_factory=dict)


@torch.no_grad()
def measure(
    name: str, model: Any, dense: Any, batches: Sequence[Mapping[str, Tensor]], tokenizer: Any
) -> Measures:
    """Measure a model in evaluation mode.

    Args:
        name: of the model.
        model: sparsified, or the dense one itself.
        dense: the model that quality and operations are compared with.
        batches: held-out rows.
        tokenizer: names the tokens.
    """
    sums: dict[str, float] = {}
    n_real = saved = operations = computed = whole = 0
    active_of: dict[str, list[float]] = {}
    rates: Counter[str] = Counter()
    for batch in batches:
        real = batch["attention_mask"].bool()
        with record(model) as recording:
            found = model(**batch, output_hidden_states=True)
        wanted = dense(**batch, output_hidden_states=True)
        n = int(real.sum())
        for measure_name, value in _quality(found, wanted, batch, causal=is_causal(dense)).items():
            sums[measure_name] = sums.get(measure_name, 0.0) + n * value
        operations += dense_operations(dense, real)
        saved += saved_operations(recording.layers, dense)
        of_parts = parts_share(recording.layers)
        computed, whole = computed + of_parts[0], whole + of_parts[1]
        n_real += n
        for layer in recording.layers:
            rates[layer.name] += int(layer.n_elements)
        if recording.layers:
            shares = torch.stack([call.routing.active[..., 0].float() for call in recording.layers]).mean(0)
            for piece, share in zip(_pieces(tokenizer, batch), shares[real].tolist(), strict=True):
                active_of.setdefault(piece, []).append(share)
    tokens = {piece: sum(each) / len(each) for piece, each in active_of.items() if len(each) >= FEWEST}
    seconds = pass_seconds((model,) if model is dense else (model, dense), batches)
    return Measures(
        name,
        {measure_name: value / n_real for measure_name, value in sums.items()},
        1 - saved / operations,
        computed / whole if whole else 1.0,
        saved,
        seconds[0],
        seconds[0] / seconds[-1],
        {part: count / n_real for part, count in rates.items()},
        dict(sorted(tokens.items(), key=lambda each: each[1])),
    )


@torch.no_grad()
def difference(model: Any, dense: Any, batch: Mapping[str, Tensor]) -> float:
    """The hidden difference of a model from the dense one on a batch."""
    found, wanted = (each(**batch, output_hidden_states=True).hidden_states for each in (model, dense))
    return hidden_difference(found, wanted, batch["attention_mask"].bool()).item()


def _quality(found: Any, wanted: Any, batch: Mapping[str, Tensor], *, causal: bool) -> dict[str, float]:
    real = batch["attention_mask"].bool()
    quality = {"hidden difference": hidden_difference(found.hidden_states, wanted.hidden_states, real).item()}
    if getattr(found, "logits", None) is None:
        return quality
    quality["divergence in nats"] = divergence(found.logits, wanted.logits, real).item()
    if causal and found.logits.dim() == 3:
        known = real[:, 1:] & real[:, :-1]
        loss = F.cross_entropy(found.logits[:, :-1][known].float(), batch["input_ids"][:, 1:][known])
        quality["bits per token"] = loss.item() / math.log(2)
    return quality


def _pieces(tokenizer: Any, batch: Mapping[str, Tensor]) -> list[str]:
    """The texts of a batch's real tokens, row by row."""
    rows = (ids[real] for ids, real in zip(batch["input_ids"], batch["attention_mask"].bool(), strict=True))
    return [piece for row in rows for piece in token_pieces(tokenizer, row.tolist())]


@torch.no_grad()
def pass_seconds(models: Sequence[Any], batches: Sequence[Mapping[str, Tensor]]) -> list[float]:
    """Processor time of a pass of each model over all batches: the best of up to nine, in turns.

    Args:
        models: in turns, so that what else the machine does meets all of them.
        batches: what they are called with.
    """
    best = [math.inf] * len(models)
    end = time.monotonic() + ENOUGH
    for number in range(N_PASSES):
        if number >= FEWEST_PASSES and time.monotonic() > end:
            break
        for i, model in enumerate(models):
            start = time.process_time()
            for batch in batches:
                model(**batch)
            best[i] = min(best[i], time.process_time() - start)
    return best
