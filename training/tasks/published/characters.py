"""enwik8 and text8 (http://mattmahoney.net/dc/textdata.html): 100 million bytes, in the published splits."""

import zipfile
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import override

from sma import register
from sma.architectures.files.reading import expanded
from sma.training.tasks.task import TaskSpec
from sma.training.tasks.text.corpus import Corpus, Length, TextFile
from sma.training.tasks.text.text_task import TextTask

SIZE = 100_000_000
HELD_OUT = 5_000_000


@register
class HundredMillionBytesSpec(TaskSpec):
    """The first 90 million bytes to learn from, 5 million each for validation and test.

    Attributes:
        folder: holds `enwik8` or `text8`, or the .zip of it.
        name: which of the two.
        length: bytes per training row.
        evaluation_length: bytes per row of validation and test.
        validation_bytes: how much of the validation data each validation reads.
    """

    kind: Literal["enwik8"] = "enwik8"
    folder: Annotated[str, Field(min_length=1)]
    name: Literal["enwik8", "text8"] = "enwik8"
    length: Length = 8192
    evaluation_length: Length = 8192
    validation_bytes: Annotated[int, Field(ge=1)] = HELD_OUT

    @override
    def build(self) -> TextTask:
        content = read_bytes(expanded(self.folder, field="task.folder"), self.name)
        cuts = {
            "training": (0, SIZE - 2 * HELD_OUT),
            "validation": (-2 * HELD_OUT, -HELD_OUT),
            "test": (-HELD_OUT, None),
        }
        splits = {
            split: (TextFile(f"{self.name}, {split}", content[first:last]),)
            for split, (first, last) in cuts.items()
        }
        return TextTask(
            Corpus(**splits),
            title=f"{self.name}: 90, 5 and 5 million bytes",
            facts={"source": self.name},
            split="the published one: 90, 5 and 5 million bytes",
            length=self.length,
            evaluation_length=self.evaluation_length,
            validation_bytes=self.validation_bytes,
        )


def read_bytes(folder: Path, name: str) -> bytes:
    """The 100 million bytes in `name` or `name.zip`.

    Raises:
        ValueError: if there is neither, or it is damaged.
    """
    plain, packed = folder / name, folder / f"{name}.zip"
    try:
        if plain.is_file():
            content = plain.read_bytes()
        elif packed.is_file():
            with zipfile.ZipFile(packed) as archive:
                content = archive.read(name)
        else:
            raise ValueError(f"{folder} holds neither {name} nor {name}.zip; name the folder that does")
    except (OSError, zipfile.BadZipFile, KeyError, RuntimeError) as error:
        raise ValueError(
            f"{packed if not plain.is_file() else plain} is damaged ({error}); copy it again"
        ) from error
    if len(content) != SIZE:
        raise ValueError(f"{name} in {folder} has {len(content):,} bytes instead of {SIZE:,}; copy it again")
    return content
