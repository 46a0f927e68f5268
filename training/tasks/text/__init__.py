"""Language modelling of text: files, their splits, tokenizers, and the task on them."""

from sma.training.tasks.text.corpus import NOT_SOURCE, SEPARATOR, Corpus, Length, Share, TextFile, read_files
from sma.training.tasks.text.text_files import PythonSourceSpec, TextFilesSpec, TextSpec
from sma.training.tasks.text.text_task import TextTask
from sma.training.tasks.text.tokenizer import Tokenizer, open_tokenizer

__all__ = [
    "NOT_SOURCE",
    "SEPARATOR",
    "Corpus",
    "Length",
    "PythonSourceSpec",
    "Share",
    "TextFile",
    "TextFilesSpec",
    "TextSpec",
    "TextTask",
    "Tokenizer",
    "open_tokenizer",
    "read_files",
]
