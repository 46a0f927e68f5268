"""Tasks on data sets in Python: `torch.utils.data.Dataset`, those of Hugging Face's `datasets`, or lists."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sma.checks import near
from sma.training.tasks.reading.row_reader import (
    Form,
    RowReader,
    check_width,
    in_order,
    label_text,
    number_of,
    to_values,
)
from sma.training.tasks.rows import Rows
from sma.training.tasks.rows_task import RowsTask
from sma.training.tasks.tables.row_splits import SPLITS
from sma.training.tasks.task import Task
from sma.training.tasks.text.corpus import SEPARATOR, Corpus, TextFile
from sma.training.tasks.text.named_splits import NAMES
from sma.training.tasks.text.text_task import TextTask
from sma.training.tasks.text.tokenizer import Tokenizer, open_tokenizer

Key = int | str


def from_dataset(
    data: Any,
    *,
    title: str,
    inputs: Key = 0,
    label: Key | None = 1,
    classes: Sequence[str] | None = None,
    tokenizer: str | None = None,
    validation_share: float = 0.1,
    test_share: float = 0.1,
    length: int = 512,
    evaluation_length: int = 8192,
) -> Task:
    """A task on a data set: classification, or language modelling where there are no labels.

    An item's inputs may be text, a one-dimensional array or tensor of integers (tokens), one of numbers (a
    row with one feature), a two-dimensional one `(L, F)`, or a picture, whose pixels are read line by line.
    All is read into memory. Items that belong to no split of their own are dealt out by the hash of their
    inputs, so that equal ones share a split. Other files, for `sma predict`, are tables with columns of the
    same names, or `inputs` and `label`.

    Args:
        data: a data set with `len(data)` and `data[i]`, or a mapping of `train`, `validation` and `test` to
            such; those that are missing are taken from `train`.
        title: names the data.
        inputs: the place of the inputs in an item, or their name.
        label: the place or name of the label; None: predict each byte or token of the texts.
        classes: their names, by the labels' numbers; None: the labels of the training items.
        tokenizer: a `tokenizer.json` of the library `tokenizers`; None for bytes.
        validation_share: about this share of items is held out, if there is no validation split.
        test_share: about this share of items is held out, if there is no test split.
        length: tokens per training row of language modelling.
        evaluation_length: tokens per row of validation and test of language modelling.

    Returns:
        A `RowsTask` or a `TextTask`.

    Raises:
        ValueError: if an item does not hold what it should; the message names it.

    Example:
        >>> import torch
        >>> items = [(f"text {i}", i % 2) for i in range(100)]
        >>> task = from_dataset(items, title="even and odd")
        >>> task.n_classes, task.training_batch(4, torch.Generator()).inputs.shape[0]
        (2, 4)
    """
    opened = open_tokenizer(tokenizer)
    items = _items(data, {"test": test_share, "validation": validation_share}, inputs)
    if label is None:
        return _text_task(items, opened, title, length, evaluation_length)
    values: dict[str, list[NDArray[Any]]] = {split: [] for split in SPLITS}
    labels: dict[str, list[tuple[str, str]]] = {split: [] for split in SPLITS}
    form: Form | None = None
    side, first = None, None
    for item in items:
        found = _Values.of(item.inputs)
        form, side = form or found.form, found.side
        values[item.split].append(to_values(found.value, form, opened, item.where))
        first = values[item.split][-1] if first is None else first
        check_width(values[item.split][-1], first, item.where)
        text = label_text(_plain(item.get(label)), f"{item.where}: label {label!r}")
        labels[item.split].append((text, item.where))
    met = in_order(list({text for text, _ in labels["training"]}))
    names = list(met if classes is None else classes)
    numbers = {text: i for i, text in enumerate(met if classes is None else map(str, range(len(names))))}
    if classes is not None and not set(met) <= set(numbers):  # labels are names
        numbers = {text: i for i, text in enumerate(names)}
    splits = {split: _rows(split, values[split], labels[split], numbers) for split in SPLITS}
    return RowsTask(
        splits,
        title=title,
        facts={**opened.facts, **{f"SHA-256 of the {name} data": _digest(r) for name, r in splits.items()}},
        classes=names,
        names=opened.names if form == "text" else None,
        side=side if form == "features" and first is not None and first.shape[1] == 1 else None,
        reader=RowReader(_column(inputs, "inputs"), _column(label, "label"), form or "text", opened),
    )


class _Item(NamedTuple):
    """An item of a data set, what names it in messages, and its split."""

    item: Any
    where: str
    split: str
    inputs: Any

    def get(self, key: Key) -> Any:
        return _cell(self.item, key, self.where)


class _Values(NamedTuple):
    """The inputs of an item, what they are, and the side of a square picture."""

    value: Any
    form: Form
    side: int | None = None

    @classmethod
    def of(cls, raw: Any) -> "_Values":
        if isinstance(raw, str | bytes):
            return cls(raw, "text")
        array = np.asarray(raw)
        if hasattr(raw, "getbands"):  # a PIL image: lines, columns, channels
            array = array / 255 if array.dtype == np.uint8 else array
            array = array.reshape(*array.shape[:2], -1)
        elif array.ndim == 3:  # channels come first, as in a tensor of torchvision
            array = array.transpose(1, 2, 0)
        if array.ndim == 3:
            side = array.shape[0] if array.shape[0] == array.shape[1] else None
            return cls(array.reshape(-1, array.shape[2]), "features", side)
        return cls(array, "tokens" if array.ndim == 1 and array.dtype.kind in "iu" else "features")


def _items(data: Any, shares: Mapping[str, float], inputs: Key) -> Iterator[_Item]:
    """All items, split by split."""
    named = {"training": data}
    if isinstance(data, Mapping):
        unknown = [name for name in data if name not in NAMES]
        if unknown:
            raise ValueError(f"data has the split {unknown[0]!r}{near(str(unknown[0]), NAMES)}")
        named = {NAMES[name]: each for name, each in data.items()}
    if "training" not in named:
        raise ValueError("data has no split train; give it one")
    for split, each in named.items():
        try:
            n = len(each)
        except TypeError as error:
            raise ValueError(
                f"the {split} data are a {type(each).__name__} without a length; give a list or a data set "
                "with len(data) and data[i]"
            ) from error
        for i in range(n):
            where = f"item {i} of the {split} data"
            item = each[i]
            value = _cell(item, inputs, where)
            dealt = _place(value, {s: share for s, share in shares.items() if s not in named})
            yield _Item(item, where, dealt if split == "training" else split, value)


def _place(value: Any, shares: Mapping[str, float]) -> str:
    """The split of a training item, by the hash of its inputs."""
    if isinstance(value, str | bytes):
        content = value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value
    else:
        content = np.ascontiguousarray(np.asarray(value)).tobytes()
    place = int.from_bytes(hashlib.sha256(content).digest()[:8], "big") / 2**64
    start = 0.0
    for split, share in shares.items():
        if start <= place < start + share:
            return split
        start += share
    return "training"


def _cell(item: Any, key: Key, where: str) -> Any:
    if isinstance(item, str | bytes):
        return item
    try:
        return item[key]
    except (KeyError, IndexError, TypeError) as error:
        there = (
            f"has {', '.join(map(repr, item))}"
            if isinstance(item, Mapping)
            else f"is a {type(item).__name__}"
        )
        raise ValueError(f"{where} lacks {key!r}: it {there}; name its parts by inputs and label") from error


def _column(key: Key, name: str) -> str:
    """The column of other files that holds what an item holds under a key."""
    return key if isinstance(key, str) else name


def _plain(value: Any) -> Any:
    """A number instead of an array or tensor of one."""
    return value.item() if hasattr(value, "item") else value


def _rows(
    split: str,
    values: Sequence[NDArray[Any]],
    labels: Sequence[tuple[str, str]],
    numbers: Mapping[str, int],
) -> Rows:
    if not values:
        raise ValueError(f"the {split} split has no items; give more, or a larger share")
    given = np.array([number_of(text, numbers, where) for text, where in labels])
    return Rows(np.concatenate(values), np.cumsum([len(value) for value in values]), given)


def _digest(rows: Rows) -> str:
    digest = hashlib.sha256()
    for array in (rows.values, rows.ends, rows.labels):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _text_task(
    items: Iterator[_Item], tokenizer: Tokenizer, title: str, length: int, evaluation_length: int
) -> TextTask:
    texts: dict[str, list[bytes]] = {split: [] for split in SPLITS}
    for item in items:
        value = item.inputs
        if not isinstance(value, str | bytes):
            raise ValueError(
                f"{item.where} is a {type(value).__name__}, not text; give label for classification"
            )
        texts[item.split].append(value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value)
    for split, found in texts.items():
        if not any(found):
            raise ValueError(f"the {split} split has no text; give more items, or a larger share")
    files = {
        split: (TextFile(f"{split} items", SEPARATOR.join(filter(None, found))),)
        for split, found in texts.items()
    }
    return TextTask(
        Corpus(**files),
        title=title,
        facts={f"{split} items": f"{len(found):,}" for split, found in texts.items()},
        length=length,
        evaluation_length=evaluation_length,
        validation_bytes=131_072,
        split="as given, and by the hash of items",
        tokenizer=tokenizer,
    )
