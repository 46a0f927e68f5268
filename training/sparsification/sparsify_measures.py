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
from sma.training.sparsification.token_operations import dense_operations, is_causal, saved_operations

N_TIMES = 3
FEWEST = 3
"""Occurrences of a token whose rate is shown."""


@dataclass(frozen=True)
class Measures:
    """A model on held-out rows.

    Attributes:
        name: dense, learned, random or dropped.
        quality: by measure; less is better.
        operations: beside those of the dense model.
        saved: operations that were skipped.
        seconds: of a pass over all rows, the best of three.
        rates: the share of tokens that each part computed, by its name.
        tokens: the share of the parts that a token computes, by token, of those that occur often enough.
    """

    name: str
    quality: dict[str, float]
    operations: float
    saved: int
    seconds: float
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
    n_real = saved = operations = 0
    active_of: dict[int, list[float]] = {}
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
        n_real += n
        for layer in recording.layers:
            rates[layer.name] += int(layer.n_elements)
        if recording.layers:
            shares = torch.stack([call.routing.active[..., 0].float() for call in recording.layers]).mean(0)
            for token, share in zip(batch["input_ids"][real].tolist(), shares[real].tolist(), strict=True):
                active_of.setdefault(token, []).append(share)
    tokens = {
        str(tokenizer.convert_ids_to_tokens(token)): sum(each) / len(each)
        for token, each in active_of.items()
        if len(each) >= FEWEST
    }
    return Measures(
        name,
        {measure_name: value / n_real for measure_name, value in sums.items()},
        1 - saved / operations,
        saved,
        min(_seconds(model, batches) for _ in range(N_TIMES)),
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


def _seconds(model: Any, batches: Sequence[Mapping[str, Tensor]]) -> float:
    start = time.perf_counter()
    for batch in batches:
        model(**batch)
    return time.perf_counter() - start
