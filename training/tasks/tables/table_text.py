"""Language modelling of a column of text of a table."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import override

from sma import register
from sma.training.generators.cache import cached, progress, whole_or_damaged
from sma.training.tasks.reading.table_files import text_of
from sma.training.tasks.tables.row_splits import SPLITS, RowSplits
from sma.training.tasks.tables.table_spec import Name, TableSpec
from sma.training.tasks.text.corpus import SEPARATOR, Corpus, Length, TextFile
from sma.training.tasks.text.text_task import TextTask


@register
class TableTextSpec(TableSpec):
    """Predict every byte or token of the texts in a column from those before it.

    Attributes:
        text: the column. Rows without text are left out.
        length: tokens per training row; tokens are bytes unless a tokenizer makes others.
        evaluation_length: tokens per row of validation and test.
        validation_bytes: how many tokens of the validation data each validation reads.
    """

    kind: Literal["table_text"] = "table_text"
    text: Name
    length: Length = 512
    evaluation_length: Length = 8192
    validation_bytes: Annotated[int, Field(ge=1)] = 131_072

    @override
    def build(self) -> TextTask:
        splits, tokenizer = self.row_splits([self.text]), self.opened_tokenizer()

        def make(folder: Path) -> dict[str, str]:
            facts = {}
            for split in SPLITS:
                path = folder / f"{split}.txt"
                n, n_empty = _write(path, splits, split, self.text)
                facts[f"{split} bytes"] = str(path.stat().st_size)
                facts[f"{split} rows"] = f"{n:,}" + (f", and {n_empty:,} without text" if n_empty else "")
            return facts

        folder, facts = cached("table-text", self.cache_key(splits, tokenizer), make)
        files = {split: (TextFile(f"{split} rows", folder / f"{split}.txt"),) for split in SPLITS}
        with whole_or_damaged(folder):
            for split, (file,) in files.items():
                if str(file.size) != facts.pop(f"{split} bytes"):
                    raise ValueError(f"{split}.txt has {file.size:,} bytes")
        names = ", ".join(path.name for path in splits.files["training"])
        return TextTask(
            Corpus(**files),
            title=f"the column {self.text!r} of {names}",
            facts=facts,
            length=self.length,
            evaluation_length=self.evaluation_length,
            validation_bytes=self.validation_bytes,
            split=splits.how,
            tokenizer=tokenizer,
            column=self.text,
        )


def _write(path: Path, splits: RowSplits, split: str, column: str) -> tuple[int, int]:
    """Write the texts of a split one after another, with separators between; how many, and how many empty."""
    n, n_empty = 0, 0
    with path.open("wb") as file, progress(f"reading the {split} rows", None) as advance:
        for row in splits.rows(split, [column]):
            text = text_of(row, column)
            if text:
                file.write((SEPARATOR if n else b"") + text)
            n, n_empty = n + bool(text), n_empty + (not text)
            advance(1)
    if not n:
        raise ValueError(
            f"all rows of the {split} split are without text in the column {column!r}; give some text"
        )
    return n, n_empty
