"""The base of the tasks on tables: files, their splits, and text."""

import hashlib
import json
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import Field, model_validator

from sma.training.tasks.reading.table_files import is_table
from sma.training.tasks.tables.row_splits import RowSplits
from sma.training.tasks.task import TaskSpec
from sma.training.tasks.text.corpus import Share
from sma.training.tasks.text.named_splits import read_named
from sma.training.tasks.text.tokenizer import Tokenizer, open_tokenizer

Name = Annotated[str, Field(min_length=1)]
Places = Name | Annotated[list[Name], Field(min_length=1)]


class TableSpec(TaskSpec):
    """Base of the tasks on tables: CSV, TSV, JSON Lines (`.jsonl`, `.ndjson`, `.json`) and Parquet files.

    Rows of splits that have no files are taken from the training rows, by the hash of their inputs: equal
    rows share a split, and a new row moves no other.

    Attributes:
        train: files, folders (the tables in them) or globs. Where several files are named and their own names
            are train, valid (or validation, val, dev) and test, they are these splits.
        validation: those of the validation split.
        test: those of the test split.
        split: a column that says each row's split, instead.
        validation_share: about this share of the training rows is held out, if there are no files.
        test_share: about this share of the training rows is held out, if there are no files.
        tokenizer: a `tokenizer.json` of the library `tokenizers`; None for bytes.
    """

    train: Places
    validation: Places | None = None
    test: Places | None = None
    split: Name | None = None
    validation_share: Share = 0.1
    test_share: Share = 0.1
    tokenizer: Name | None = None

    @model_validator(mode="after")
    def _check_split(self) -> "TableSpec":
        if self.split is not None and (self.validation is not None or self.test is not None):
            raise ValueError("split names a column that says each row's split; leave out validation and test")
        return self

    def row_splits(self, hashed: Sequence[str]) -> RowSplits:
        """Where the rows of each split are.

        Raises:
            ValueError: if there are no such files.
        """
        fields = {"training": "train", "validation": "validation", "test": "test"}
        named = {
            split: read_named(field, places, accepted=is_table)
            for split, field in fields.items()
            if (places := getattr(self, field)) is not None
        }
        shares = (self.validation_share, self.test_share)
        return RowSplits.of(named, shares=shares, hashed=hashed, column=self.split)

    def opened_tokenizer(self) -> Tokenizer:
        """The tokenizer of text."""
        return open_tokenizer(self.tokenizer)

    def cache_key(self, splits: RowSplits, tokenizer: Tokenizer) -> dict[str, Any]:
        """The data and settings that the prepared rows depend on."""
        digest = hashlib.sha256()
        for path in (path for paths in splits.files.values() for path in paths):
            status = path.stat()
            digest.update(
                f"{path.resolve()} {status.st_size} {status.st_mtime_ns}".encode("utf-8", "replace")
            )
        fields = json.loads(self.model_dump_json())
        return {**fields, "files": digest.hexdigest(), "tokenizer file": dict(tokenizer.facts)}
