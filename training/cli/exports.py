"""The command that makes a folder for the transformers library of a run or of a model."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sma.training.cli.options import ImportOption

if TYPE_CHECKING:
    from sma.training.run.folder import Run
    from sma.training.tasks.task import TaskSpec


def export(
    source: Annotated[
        Path, typer.Argument(help="Folder of a run, or of a model.", metavar="RUN", show_default=False)
    ],
    out: Annotated[Path, typer.Argument(help="Folder to make.", metavar="FOLDER", show_default=False)],
    modules: ImportOption = None,
) -> None:
    """Make a folder that transformers loads: weights, tokenizer and a model card.

    Of a run, with its best weights; a text's tokenizer is written where the run's task is text. It needs the
    extra `transformers`.
    """
    if out.exists():
        raise ValueError(f"{out} exists already; name a new folder, or remove it")
    wrapped = write_folder(source, out)
    typer.echo(
        f"{out}: {type(wrapped).__name__}, {wrapped.num_parameters():,} parameters; see {out}/README.md"
    )


def write_folder(source: Path, out: Path) -> Any:
    """Write a run's best model, or the model in a folder, for transformers.

    Args:
        source: folder of a run, of a model that `save_model` wrote, or that `sma import` made.
        out: the new folder.

    Returns:
        The model, of a class of `sma.transformers`.

    Raises:
        ValueError: if there is no model at `source`, or transformers has no class for it.
    """
    from sma.architectures import load_model
    from sma.training import results
    from sma.training.run.folder import Run
    from sma.transformers import as_transformers

    if (source / "spec.json").is_file():
        wrapped = as_transformers(load_model(source))
        wrapped.save_pretrained(out)
        return wrapped
    run = Run.open(source)
    task = run.spec().task
    tokenizer = text_tokenizer(task)
    fields: dict[str, Any] = {}
    if tokenizer is not None:
        for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
            fields[name] = getattr(tokenizer, name)
    labels = getattr(task, "labels", None)
    if labels:
        fields["id2label"] = {i: str(label) for i, label in enumerate(labels)}
    wrapped = as_transformers(results.best_model(run).cpu(), **fields)
    wrapped.save_pretrained(out, card=card_facts(run))
    if tokenizer is not None:
        tokenizer.save_pretrained(out)
    return wrapped


def text_tokenizer(task: "TaskSpec") -> Any:
    """The tokenizer of transformers that reads text as a task does; None for a task that reads no text.

    Rows of a language model begin with the token that separates files; classified texts do not.
    """
    from sma.training.tasks.standins.news import NewsSpec
    from sma.training.tasks.tables.table_classification import TableClassificationSpec
    from sma.training.tasks.tables.table_text import TableTextSpec
    from sma.training.tasks.text.text_files import TextSpec
    from sma.training.tasks.text.tokenizer import FileTokenizer, open_tokenizer
    from sma.transformers import ByteTokenizer, file_tokenizer

    streams = isinstance(task, TextSpec | TableTextSpec)
    classified = isinstance(task, NewsSpec) or (
        isinstance(task, TableClassificationSpec) and task.form == "text"
    )
    if not streams and not classified:
        return None
    path = getattr(task, "tokenizer", None)
    opened = open_tokenizer(path)
    if isinstance(opened, FileTokenizer):
        return file_tokenizer(Path(str(path)).expanduser(), end=opened.separator)
    return ByteTokenizer(add_bos_token=streams)


def card_facts(run: "Run") -> Any:
    """What a run's files say for a model card: data, figures and baselines, activation rates, versions."""
    from sma.transformers import CardFacts

    facts, found = run.facts(), run.results()
    figures: dict[str, str] = {}
    if found is not None:
        measure = f"test bits per {found.unit}" if found.headline == "bits" else "test accuracy"
        figures = {
            measure: f"{found.value:.4f}",
            **{f"{measure}, {name}": f"{value:.4f}" for name, value in found.baselines.items()},
            "steps": f"{found.steps:,}",
            "parameters": f"{found.parameters:,}",
        }
    return CardFacts(
        title=facts.task if facts is not None else run.spec().task.kind,
        data={name: _public(value) for name, value in facts.data.items()} if facts is not None else {},
        figures=figures,
        activation_rates=found.test.activation_rates if found is not None else {},
        versions=facts.versions if facts is not None else {},
    )


def _public(value: str) -> str:
    """A fact without the folders of this machine, which are not for the Hub: of a path, its last part."""
    path = Path(value)
    return path.name if path.is_absolute() else value
