"""`sparsify_model`: a pretrained model made sparse, compared with its controls, and saved with a report."""

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from sma.checks import check_size
from sma.training.pretrained import load_pretrained
from sma.training.run.folder import check_writable, guard
from sma.training.sparsification.distillation import Distillation, DistillationStep, distill
from sma.training.sparsification.distillation_checkpoint import DistillationCheckpoint
from sma.training.sparsification.skipping_controls import choose_dropped, skip_at_random
from sma.training.sparsification.sparsified_folder import MODEL_FOLDER, REPORT, is_sparsified
from sma.training.sparsification.sparsify_measures import difference, measure
from sma.training.sparsification.sparsify_page import SparsifyReport, resume, write_report
from sma.training.sparsification.token_texts import TokenTexts, read_token_texts
from sma.transformers import SparsifySpec, sparsify
from sma.transformers.sparsification import SparsifiedConfig
from sma.transformers.sparsification.probe import is_causal

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

    What was stopped resumes when it is called again with the same arguments; further controls may be named.

    Args:
        name: of the model: a folder, or a repository of the Hub.
        data: text files, whose last tenth is held out.
        out: the folder to make: `model`, which the Auto classes load, report.json and report.html; and, until
            a model is distilled, its checkpoint.
        spec: what tokens may skip.
        settings: of the distillation, the controls' as well.
        controls: random, dropped, or both.
        batch_size: rows of a batch.
        length: tokens of a row at most.
        n_held_out: held-out rows that are measured on, if there are so many.
        seed: of the batches, and of random skipping.
        listener: called after every step, with the name of what is distilled.

    Returns:
        The report.

    Raises:
        ValueError: if the model cannot be sparsified, the data have too few rows, or `out` exists and is that
            of other arguments or has nothing left to do.
        RunError: if `out` cannot be written, or a file in it is damaged.
        KeyboardInterrupt: after Ctrl-C; during a distillation after its step, with a checkpoint.
        Terminated: after SIGTERM during a distillation, with a checkpoint.
    """
    for field, value in (("batch_size", batch_size), ("length", length), ("n_held_out", n_held_out)):
        check_size(field, value)
    for control in controls:
        if control not in CONTROLS:
            raise ValueError(f"there is no control {control!r}; use {' or '.join(CONTROLS)}")
    if out.exists() and not (out / REPORT).is_file():
        raise ValueError(f"{out} exists already; name a new folder, or remove it")
    check_writable(out, "name another folder by --out")
    dense, tokenizer = load_dense(name)
    sparsify(copy.deepcopy(dense), spec)  # what cannot be routed is found before anything is read
    if settings.task > 0 and not is_causal(dense):
        raise ValueError(
            f"task={settings.task} is the weight of a loss that needs labels, and a text has those of a "
            f"causal model alone; set task=0, or distil {type(dense).__name__} in Python, with labels"
        )
    texts = read_token_texts(data, tokenizer, length=length, causal=is_causal(dense))
    files, ids = [str(path) for path in data], texts.hash
    sizes = (batch_size, length, min(n_held_out, len(texts.held_out)), n_held_out)
    report = SparsifyReport(name, files, ids, spec, settings, *sizes, seed, [])
    if out.exists():
        resume(report, out)
    made = {each.name for each in report.measures}
    missing = [each for each in ("dense", "learned", *dict.fromkeys(controls)) if each not in made]
    if not missing:
        raise ValueError(f"{out} exists already and is complete; name a new folder, or remove it")
    held_out = texts.held_out_batches(batch_size, n_held_out)
    for entrant in missing:
        checkpoint = DistillationCheckpoint(out / f"{entrant}.safetensors")
        model = dense
        if entrant != "dense":
            model = _distilled(entrant, dense, texts, report, checkpoint, listener)
        if entrant == "learned":
            with guard(out, "name another folder by --out"):
                model.save_pretrained(out / MODEL_FOLDER)
                tokenizer.save_pretrained(out / MODEL_FOLDER)
        report.measures.append(measure(entrant, model, dense, held_out, tokenizer))
        write_report(report, out)
        checkpoint.path.unlink(missing_ok=True)
    return report


def _distilled(
    entrant: str,
    dense: Any,
    texts: TokenTexts,
    report: SparsifyReport,
    checkpoint: DistillationCheckpoint,
    listener: Callable[[str, DistillationStep], None],
) -> Any:
    """The learned model, or one of its controls."""
    torch.manual_seed(report.seed)
    model = sparsify(copy.deepcopy(dense), report.spec)
    before_step = _control(entrant, model, dense, texts, report)
    if entrant != "learned" and report.settings.weights == "frozen":
        return model  # there is nothing that it could learn
    return distill(
        model,
        dense,
        texts.batches(report.batch_size, report.settings.steps, seed=report.seed),
        report.settings,
        before_step=before_step,
        listener=lambda step: listener(entrant, step),
        checkpoint=checkpoint,
    )


def load_dense(name: str) -> tuple[Any, Any]:
    """A pretrained model of its own class, in evaluation mode, and its tokenizer.

    Raises:
        ValueError: if it is sparsified already, cannot be loaded, has no tokenizer, or transformers has no
            class for it.
    """
    import transformers

    config: Any = None
    if not is_sparsified(Path(name)):
        config = load_pretrained(transformers.AutoConfig, name)
    if config is None or isinstance(config, SparsifiedConfig):
        raise ValueError(f"{name} is sparsified already; name the dense model that it was made of")
    names = config.architectures or []
    model_class = getattr(transformers, names[0], None) if names else None
    if model_class is None:
        raise ValueError(
            f"{name} says of its class {', '.join(names) or 'nothing'} (architectures in config.json), which "
            "transformers does not have; sparsify it in Python, by sma.sparsify"
        )
    tokenizer = _load_tokenizer(name)
    return load_pretrained(model_class, name).eval(), tokenizer


def _load_tokenizer(name: str) -> Any:
    """The tokenizer of a pretrained model, which knows more than special tokens."""
    import transformers

    reason: Exception | None = None
    try:
        tokenizer = load_pretrained(transformers.AutoTokenizer, name)
        if tokenizer.get_vocab().keys() - set(tokenizer.all_special_tokens):
            return tokenizer
    except ValueError as error:
        reason = error
    raise ValueError(
        f"{name} has no tokenizer: save one there (tokenizer.save_pretrained), or name a model that has one"
    ) from reason


def _control(
    entrant: str, model: Any, dense: Any, texts: TokenTexts, report: SparsifyReport
) -> Callable[[float], None]:
    """Make a sparsified model the control that its name says; returns what is called before each step."""
    if entrant == "learned":
        return lambda progress: None
    learned = next(each for each in report.measures if each.name == "learned")
    if entrant == "random":
        move = skip_at_random(model, learned.rates, ramp=report.spec.ramp, seed=report.seed)
        move(1.0)
        return move
    sample = texts.batch(texts.training[:N_CHOOSING])
    held_out = texts.held_out_batches(report.batch_size, report.n_held_out)
    n_measured = sum(int(batch["attention_mask"].sum()) for batch in held_out)
    saved = round(learned.saved * int(sample["attention_mask"].sum()) / n_measured)
    choose_dropped(model, sample, saved, lambda: difference(model, dense, sample))
    return lambda progress: None
