"""`sparsify_model`: a pretrained model made sparse, compared with its controls, and saved with a report."""

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from sma.checks import check_size
from sma.training.run.folder import guard
from sma.training.sparsification.distillation import Distillation, DistillationStep, distill
from sma.training.sparsification.skipping_controls import choose_dropped, skip_at_random
from sma.training.sparsification.sparsified_folder import MODEL_FOLDER
from sma.training.sparsification.sparsify_measures import Measures, difference, measure
from sma.training.sparsification.sparsify_page import SparsifyReport, write_report
from sma.training.sparsification.token_operations import is_causal
from sma.training.sparsification.token_texts import TokenTexts, read_token_texts
from sma.transformers import SparsifySpec, sparsify

CONTROLS = ("random", "dropped")
N_CHOOSING = 8
"""Rows on which the parts to be dropped are chosen."""


def sparsify_model(
    name: str,
    data: Sequence[Path],
    out: Path,
    *,
    spec: SparsifySpec,
    settings: Distillation,
    controls: Sequence[str] = CONTROLS,
    batch_size: int = 8,
    length: int = 128,
    n_held_out: int = 64,
    seed: int = 0,
    listener: Callable[[str, DistillationStep], None] = lambda name, step: None,
) -> SparsifyReport:
    """Make a pretrained model sparse.

    Args:
        name: of the model: a folder, or a repository of the Hub.
        data: text files, whose last tenth is held out.
        out: the folder to make: `model`, which the Auto classes load, report.json and report.html.
        spec: what tokens may skip.
        settings: of the distillation, the controls' as well.
        controls: random, dropped, or both.
        batch_size: rows of a batch.
        length: tokens of a row at most.
        n_held_out: held-out rows that are measured on.
        seed: of the batches, and of random skipping.
        listener: called after every step, with the name of what is distilled.

    Returns:
        The report.

    Raises:
        ValueError: if the model cannot be sparsified, the data have too few rows, or `out` exists.
    """
    for field, value in (("batch_size", batch_size), ("length", length), ("n_held_out", n_held_out)):
        check_size(field, value)
    for control in controls:
        if control not in CONTROLS:
            raise ValueError(f"there is no control {control!r}; use {' or '.join(CONTROLS)}")
    if out.exists():
        raise ValueError(f"{out} exists already; name a new folder, or remove it")
    dense, tokenizer = load_dense(name)
    sparsify(copy.deepcopy(dense), spec)  # what cannot be routed is found before anything is read
    texts = read_token_texts(data, tokenizer, length=length, causal=is_causal(dense))
    held_out = texts.held_out_batches(batch_size, n_held_out)
    found = [measure("dense", dense, dense, held_out, tokenizer)]
    for entrant in ("learned", *controls):
        torch.manual_seed(seed)
        model = sparsify(copy.deepcopy(dense), spec)
        before_step = _control(entrant, model, dense, texts, found, held_out, seed)
        if entrant == "learned" or settings.weights != "frozen":  # else a control has nothing to learn
            batches = texts.batches(batch_size, settings.steps, seed=seed)
            model = distill(
                model,
                dense,
                batches,
                settings,
                before_step=before_step,
                listener=lambda step, entrant=entrant: listener(entrant, step),  # type: ignore[misc]
            )
        found.append(measure(entrant, model, dense, held_out, tokenizer))
        if entrant == "learned":
            with guard(out, "name another folder by --out"):
                model.save_pretrained(out / MODEL_FOLDER)
                tokenizer.save_pretrained(out / MODEL_FOLDER)
    report = SparsifyReport(
        str(name),
        [str(path) for path in data],
        texts.hash,
        spec,
        settings,
        batch_size,
        length,
        seed,
        found,
    )
    write_report(report, out)
    return report


def load_dense(name: str) -> tuple[Any, Any]:
    """A pretrained model of its own class, in evaluation mode, and its tokenizer.

    Raises:
        ValueError: if transformers has no class for it.
    """
    import transformers

    config = transformers.AutoConfig.from_pretrained(name)
    names = config.architectures or []
    model_class = getattr(transformers, names[0], None) if names else None
    if model_class is None:
        raise ValueError(
            f"{name} says of its class {', '.join(names) or 'nothing'} (architectures in config.json), which "
            "transformers does not have; sparsify it in Python, by sma.sparsify"
        )
    return model_class.from_pretrained(name).eval(), transformers.AutoTokenizer.from_pretrained(name)


def _control(
    entrant: str,
    model: Any,
    dense: Any,
    texts: TokenTexts,
    found: Sequence[Measures],
    held_out: Sequence[Any],
    seed: int,
) -> Callable[[float], None]:
    """Make a sparsified model the control that its name says; returns what is called before each step."""
    if entrant == "learned":
        return lambda progress: None
    learned = next(each for each in found if each.name == "learned")
    if entrant == "random":
        move = skip_at_random(model, learned.rates, seed=seed)
        move(1.0)
        return move
    sample = texts.batch(texts.training[:N_CHOOSING])
    n_measured = sum(int(batch["attention_mask"].sum()) for batch in held_out)
    saved = round(learned.saved * int(sample["attention_mask"].sum()) / n_measured)

    choose_dropped(model, sample, saved, lambda: difference(model, dense, sample))
    return lambda progress: None
