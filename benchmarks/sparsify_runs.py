"""The runs of the demonstrations of `sma.sparsify`: their order, and a file for each, so that they resume."""

import argparse
import copy
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import sma
from sma.training.sparsification.distillation import Distillation
from sma.training.sparsification.skipping_controls import choose_dropped, saved_by_dropping, skip_at_random
from sma.training.sparsification.sparsify_measures import difference, pass_seconds
from sma.training.sparsification.token_operations import dense_operations, saved_operations
from sma.transformers import routed_parts

RESULTS = Path(__file__).parent / "results" / "sparsify"
PARTS = {
    "feed-forwards": ("feed_forward",),
    "both": ("feed_forward", "attention"),
    "attention": ("attention",),
}
RATES = {"minilm": (0.6, 0.4, 0.8, 0.2), "llama": (0.6, 0.3)}
CONTROLS = ("learned", "random", "even", "dropped")
SEEDS = {"minilm": 3, "llama": 1}
LONGER = {"minilm": (0.4, 0.2), "llama": ()}
"""Rates of longer distillations, of both parts and the first seed."""
LONGER_STEPS = 1000


@dataclass(frozen=True)
class Run:
    """One model: parts that are skipped, the rate that is aimed at, how it is decided, and a seed.

    Attributes:
        steps: of a longer distillation; None: as many as most.
    """

    model: str
    parts: str
    rate: float
    control: str
    seed: int
    steps: int | None = None

    @property
    def name(self) -> str:
        name = f"{self.model}-{self.parts}-{round(100 * self.rate)}-{self.control}-{self.seed}"
        return name if self.steps is None else f"{name}-{self.steps}"


def plan(model: str) -> list[Run]:
    """All runs: the first seed of all before the second, and a learned one before its controls."""
    longer = (
        Run(model, "both", rate, control, 0, LONGER_STEPS) for rate in LONGER[model] for control in CONTROLS
    )
    runs = [
        Run(model, part, rate, control, seed)
        for seed in range(SEEDS[model])
        for rate in RATES[model]
        for part in PARTS
        for control in CONTROLS
    ]
    return [*runs, *longer]


def read(name: str) -> dict[str, Any] | None:
    """What a run found; None if it was not made."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else None


def to_make(
    model: str, settings: Distillation, given: argparse.Namespace
) -> Iterator[tuple[Run, Distillation]]:
    """The runs that have no result, each with its settings, while there is time.

    Args:
        model: the demonstration.
        settings: of all but the longer distillations.
        given: see `options`.

    Raises:
        ValueError: if one was distilled with other settings.
    """
    end = time.monotonic() + 60 * given.minutes
    for run in plan(model):
        own = settings if run.steps is None else settings.model_copy(update={"steps": run.steps})
        chosen = given.seed in (None, run.seed) and fnmatchcase(run.name, given.only)
        if chosen and not _is_made(run, own) and time.monotonic() < end:
            yield run, own


def _is_made(run: Run, settings: Distillation) -> bool:
    found = read(run.name)
    if found is not None and found["settings"] != settings.model_dump():
        raise ValueError(
            f"{RESULTS / run.name}.json was distilled with {found['settings']}, not {settings.model_dump()}; "
            "set the same, or remove all such files"
        )
    return found is not None


def write(name: str, values: dict[str, Any]) -> None:
    """Keep what a run found."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.with_suffix(".part").write_text(json.dumps(values, indent=1) + "\n")
    path.with_suffix(".part").rename(path)


class Remembered:
    """A dense model that computes its first batches once, for all runs that are distilled on them."""

    N_BATCHES = 200

    def __init__(self, model: Any) -> None:
        self.model = model
        self.outputs: dict[bytes, Any] = {}

    def eval(self) -> "Remembered":
        return self

    def __call__(self, *, input_ids: Tensor, **options: Any) -> Any:
        key = input_ids.numpy().tobytes()
        found = self.outputs.get(key)
        if found is None:
            found = self.model(input_ids=input_ids, **options)
            if len(self.outputs) < self.N_BATCHES:
                self.outputs[key] = found
        return found


def become(run: Run, model: Any, dense: Any, batch: dict[str, Tensor]) -> Callable[[float], None]:
    """Make a sparsified model the control of a run; returns what is called before each step.

    Which parts are dropped is chosen on a batch that it is distilled on. `even` skips at random, at one rate
    of all parts that saves what was learned to save.
    """
    if run.control == "learned":
        return lambda progress: None
    learned = read(replace(run, control="learned").name)
    assert learned is not None, "the plan makes it first"
    if run.control == "random":
        return skip_at_random(model, learned["rates"], seed=run.seed)
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    operations = dense_operations(dense, batch["attention_mask"].bool())
    saved = round((1 - learned["cost"]["operations"]) * operations)
    if run.control == "even":
        rate = 1 - saved / saved_by_dropping(model, list(routed_parts(model)), inputs)
        return skip_at_random(model, dict.fromkeys(routed_parts(model), rate), seed=run.seed)
    choose_dropped(model, inputs, saved, lambda: difference(model, dense, inputs))
    return lambda progress: None


@torch.no_grad()
def cost(model: Any, dense: Any, sample: dict[str, Tensor]) -> dict[str, Any]:
    """Operations and time beside those of the dense model, and the rate of every part."""
    with sma.record(model) as recording:
        model(**sample)
    saved = saved_operations(recording.layers, dense)
    rates = {name: rates[0] for name, rates in recording.activation_rates.items()}
    share = 1 - saved / dense_operations(dense, sample["attention_mask"].bool())
    own, whole = pass_seconds((model, dense), [sample])
    found = {"operations": share, "saved": saved, "time": own / whole}
    return {"rates": rates, "cost": found}


def times_by_rate(dense: Any, sample: dict[str, Tensor]) -> list[dict[str, Any]]:
    """Time and operations by the share of tokens that parts compute at random, without any training."""
    found = []
    for parts, names in PARTS.items():
        for rate in (1.0, 0.8, 0.6, 0.4, 0.2):
            model = sma.sparsify(copy.deepcopy(dense), parts=names)
            skip_at_random(model, dict.fromkeys(routed_parts(model), rate))(1.0)
            measured = cost(model, dense, sample)["cost"]
            found.append({"parts": parts, "rate": rate, **measured})
    return found


def options(description: str | None, *, steps: int) -> argparse.ArgumentParser:
    """The options that both demonstrations take."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=steps, help="of each distillation")
    parser.add_argument("--minutes", type=float, default=600.0, help="no run begins after this time")
    parser.add_argument("--seed", type=int, help="only the runs of this one; otherwise all, in turn")
    parser.add_argument("--only", default="*", help="a pattern of the names of the runs to make")
    parser.add_argument("--threads", type=int, default=1)
    return parser
