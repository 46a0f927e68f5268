"""The text tasks' specs: any files, or the source of Python's standard library."""

import platform
import sysconfig
from abc import abstractmethod
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator
from typing_extensions import override

from sma import register
from sma.architectures.files.reading import expanded
from sma.training.tasks.task import TaskSpec
from sma.training.tasks.text.corpus import NOT_SOURCE, Corpus, Length, Share, TextFile, read_files
from sma.training.tasks.text.named_splits import Dealt, deal, own_splits, read_named
from sma.training.tasks.text.text_task import TextTask
from sma.training.tasks.text.tokenizer import open_tokenizer

Place = Annotated[str, Field(min_length=1)]
Places = Place | Annotated[list[Place], Field(min_length=1)]


class TextSpec(TaskSpec):
    """Base of the tasks on text files.

    Attributes:
        length: tokens per training row; tokens are bytes unless a tokenizer makes others.
        evaluation_length: tokens per row of validation and test; see `TextTask`.
        validation_bytes: how many tokens of the validation files each validation reads.
        validation_share: about this share of the files is held out for validation.
        test_share: about this share of the files is held out for the test.
    """

    length: Length = 512
    evaluation_length: Length = 8192
    validation_bytes: Annotated[int, Field(ge=1)] = 131_072
    validation_share: Share = 0.03
    test_share: Share = 0.05

    @abstractmethod
    def read(self) -> tuple[list[TextFile], str, dict[str, str]]:
        """The files that hold text, a title and facts for the report."""

    def deal(self, files: list[TextFile]) -> Dealt:
        """The files of each split, and how they were dealt out."""
        shares = {"validation_share": self.validation_share, "test_share": self.test_share}
        return Dealt(Corpus.split(files, **shares), "whole files, by the hash of their paths")

    @override
    def build(self) -> TextTask:
        files, title, facts = self.read()
        dealt = self.deal(files)
        return TextTask(
            dealt.corpus,
            title=title,
            facts=facts,
            length=self.length,
            evaluation_length=self.evaluation_length,
            validation_bytes=self.validation_bytes,
            split=dealt.how,
            tokenizer=open_tokenizer(getattr(self, "tokenizer", None)),
        )


@register
class PythonSourceSpec(TextSpec):
    """The source of Python's standard library on this machine, without `NOT_SOURCE`."""

    kind: Literal["python_source"] = "python_source"

    @override
    def read(self) -> tuple[list[TextFile], str, dict[str, str]]:
        root = Path(sysconfig.get_paths()["stdlib"])
        files = read_files(root, "**/*.py", without=set(NOT_SOURCE))
        if not files:
            raise ValueError(
                f"no Python source in {root}: this Python comes without its library's .py files; use another "
                "Python, or --task text_files --set task.folder=FOLDER"
            )
        version = f"{platform.python_implementation()} {platform.python_version()}"
        facts = {"Python": version, "without the folders": ", ".join(NOT_SOURCE)}
        return files, f"the standard library's source of {version}", facts


@register
class TextFilesSpec(TextSpec):
    """Text files: those of a folder, a list of them, or named splits.

    Files of a folder whose own names are train, valid (or validation, val, dev) and test, whatever their
    extension, are these splits: they are never dealt out to others. Splits that are not given are cut off the
    ends of the training files.

    Attributes:
        folder: where the files are; sub-folders included.
        pattern: which of them, as a glob below the folder.
        files: files, folders or globs, instead of a folder.
        train: files, folders or globs to learn from, instead of a folder.
        validation: those of the validation split.
        test: those of the test split.
        tokenizer: a `tokenizer.json` of the library `tokenizers`; None for bytes.
    """

    kind: Literal["text_files"] = "text_files"
    folder: Place | None = None
    pattern: Place = "**/*"
    files: Places | None = None
    train: Places | None = None
    validation: Places | None = None
    test: Places | None = None
    tokenizer: Place | None = None

    @model_validator(mode="after")
    def _check_source(self) -> "TextFilesSpec":
        given = [name for name in ("folder", "files", "train") if getattr(self, name) is not None]
        if len(given) != 1:
            found = " and ".join(given) or "nothing"
            raise ValueError(f"name the text by one of folder, files and train; {found} is given")
        if given != ["train"] and (self.validation is not None or self.test is not None):
            raise ValueError("validation and test go with train; name the training files by train")
        return self

    @override
    def read(self) -> tuple[list[TextFile], str, dict[str, str]]:
        if self.folder is not None:
            return self._read_folder(self.folder)
        if self.files is not None:
            return read_named("files", self.files), "the files of a list", {"files": _listed(self.files)}
        assert self.train is not None  # the spec checks it
        given = {"train": self.train, "validation": self.validation, "test": self.test}
        places = {name: _listed(value) for name, value in given.items() if value is not None}
        return read_named("train", self.train), f"the text of {places['train']}", places

    @override
    def deal(self, files: list[TextFile]) -> Dealt:
        shares = (self.validation_share, self.test_share)
        if self.train is not None:
            named = {"training": files}
            if self.validation is not None:
                named["validation"] = read_named("validation", self.validation)
            if self.test is not None:
                named["test"] = read_named("test", self.test)
            return deal(named, shares, "as task.train, task.validation and task.test name them")
        own = own_splits(files, shares)
        return super().deal(files) if own is None else deal(own.named, shares, own.how)

    def _read_folder(self, folder: str) -> tuple[list[TextFile], str, dict[str, str]]:
        root = expanded(folder, field="task.folder")
        if not root.is_dir():
            raise ValueError(f"task.folder={folder!r} is not a folder; name one that holds text files")
        files = read_files(root, self.pattern)
        if not files:
            raise ValueError(
                f"no file in {folder!r} matches task.pattern={self.pattern!r} and holds any text; name "
                "another folder or pattern"
            )
        facts = {"folder": str(root.resolve()), "pattern": self.pattern}
        return files, f"the files of {root.name or root}", facts


def _listed(places: str | list[str]) -> str:
    return places if isinstance(places, str) else ", ".join(places)
