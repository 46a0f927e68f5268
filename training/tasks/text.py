"""Byte-level language modelling of text files: any folder's, or those of Python's standard library."""

import platform
import sysconfig
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from typing_extensions import override

from sma import register
from sma.training.tasks.baselines import order_k_bits, xz_bits
from sma.training.tasks.corpus import NOT_SOURCE, SEPARATOR, Corpus, Length, Share, TextFile, read_files
from sma.training.tasks.section import Section
from sma.training.tasks.task import IGNORED, Batch, Evaluation, Split, Task, TaskSpec


class TextTask(Task):
    """Predict every byte of held-out files from the bytes before it.

    A split is one stream: `SEPARATOR`, file, `SEPARATOR`, file, ... Training rows are windows at random
    places of the training stream. Evaluation cuts the stream into consecutive rows of `evaluation_length`,
    so a byte is predicted from at most that many bytes before it, and every byte is scored exactly once.

    Args:
        corpus: the files.
        title: names the data.
        facts: about the data, added to those that hold for every corpus.
        length: bytes per training row.
        evaluation_length: bytes per evaluation row.
        validation_bytes: validation reads evenly spaced rows of about this many bytes.
        split: how the files were dealt out.

    Raises:
        ValueError: if a split is too short.
    """

    n_classes = 256
    unit = "byte"
    headline = "bits"

    def __init__(
        self,
        corpus: Corpus,
        *,
        title: str,
        facts: dict[str, str],
        length: int,
        evaluation_length: int,
        validation_bytes: int,
        split: str = "whole files, by the hash of their paths",
    ) -> None:
        self.corpus = corpus
        self.length = length
        self.evaluation_length = evaluation_length
        self.training = _stream(corpus.training)
        self.test = _stream(corpus.test)
        self.validation = _stream(corpus.validation)
        self.validation_bytes = validation_bytes
        if len(self.training) <= length:
            raise ValueError(
                f"the training files hold {len(self.training):,} bytes, less than a row of length={length}; "
                "set a smaller task.length, or add files"
            )
        sizes = {"training": self.training, "validation": self.validation, "test": self.test}
        counts = {name: len(getattr(corpus, name)) for name in sizes}
        self.title = title
        self.facts = {
            **facts,
            **{f"{name} data": f"{counts[name]:,} files, {len(s):,} bytes" for name, s in sizes.items()},
            "split": split,
            "SHA-256 of all files": corpus.sha256,
        }

    @override
    def training_batch(self, batch_size: int, generator: torch.Generator) -> Batch:
        start = torch.randint(len(self.training) - self.length, (batch_size, 1), generator=generator)
        rows = self.training[start + torch.arange(self.length + 1)].long()
        return Batch(rows[:, :-1], rows[:, 1:])

    @override
    def evaluation_batches(self, split: Split, batch_size: int) -> Iterator[Batch]:
        """`batch_size` counts rows of the training length."""
        stream: Tensor = self.test if split == "test" else self.validation
        length = min(self.evaluation_length, len(stream) - 1)
        spare = -(len(stream) - 1) % length
        inputs = nn.functional.pad(stream[:-1].long(), (0, spare)).view(-1, length)
        targets = nn.functional.pad(stream[1:].long(), (0, spare), value=IGNORED).view(-1, length)
        if split == "validation":
            n_rows = min(max(self.validation_bytes // length, 1), len(inputs))
            chosen = torch.arange(n_rows) * len(inputs) // n_rows
            inputs, targets = inputs[chosen], targets[chosen]
        rows = max(batch_size * self.length // length, 1)
        for start in range(0, len(inputs), rows):
            part = slice(start, start + rows)
            mask = targets[part] != IGNORED
            yield Batch(inputs[part], targets[part], None if mask.all() else mask)

    @override
    def baselines(self) -> dict[str, float]:
        training, test = self.training.numpy(), self.test[1:].numpy()
        return {
            "bytes alone (order 0)": order_k_bits(training, test, order=0),
            "two bytes before (order 2)": order_k_bits(training, test, order=2),
            "xz -9e of the test bytes alone": xz_bits(test),
        }

    @override
    def sections(self, model: nn.Module, test: Evaluation) -> list[Section]:
        """Held-out text, tinted by activations."""
        from sma.training.tasks.text_section import text_sections

        return text_sections(self.corpus.test, model)


class TextSpec(TaskSpec):
    """Base of the tasks on text files.

    Attributes:
        length: bytes per training row.
        evaluation_length: bytes per row of validation and test; see `TextTask`.
        validation_bytes: how much of the validation files each validation reads.
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

    @override
    def build(self) -> TextTask:
        files, title, facts = self.read()
        corpus = Corpus.split(files, validation_share=self.validation_share, test_share=self.test_share)
        return TextTask(
            corpus,
            title=title,
            facts=facts,
            length=self.length,
            evaluation_length=self.evaluation_length,
            validation_bytes=self.validation_bytes,
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
    """All text files of a folder.

    Attributes:
        folder: where they are; sub-folders included.
        pattern: which of them, as a glob below the folder.
    """

    kind: Literal["text_files"] = "text_files"
    folder: Annotated[str, Field(min_length=1)]
    pattern: Annotated[str, Field(min_length=1)] = "**/*"

    @override
    def read(self) -> tuple[list[TextFile], str, dict[str, str]]:
        try:
            root = Path(self.folder).expanduser()
        except RuntimeError as error:
            raise ValueError(f"task.folder={self.folder!r}: {error}; name a folder without ~") from error
        if not root.is_dir():
            raise ValueError(f"task.folder={self.folder!r} is not a folder; name one that holds text files")
        files = read_files(root, self.pattern)
        if not files:
            raise ValueError(
                f"no file in {self.folder!r} matches task.pattern={self.pattern!r} and holds any text; name "
                "another folder or pattern"
            )
        return (
            files,
            f"the files of {root.name or root}",
            {"folder": str(root.resolve()), "pattern": self.pattern},
        )


def _stream(files: Sequence[TextFile]) -> Tensor:
    return torch.frombuffer(
        bytearray(b"".join(SEPARATOR + file.content for file in files)), dtype=torch.uint8
    )
