"""Tasks on data sets in Python."""

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

from sma.training.tasks import RowsTask, TextTask, from_dataset


class Pictures(Dataset):
    def __len__(self):
        return 60

    def __getitem__(self, i):
        return torch.full((1, 4, 4), i / 60) + torch.arange(16.0).view(1, 4, 4), torch.tensor(i % 3)


def test_pictures_are_rows_of_pixels():
    task = from_dataset(Pictures(), title="pictures", classes=["a", "b", "c"])
    assert isinstance(task, RowsTask)
    assert (task.side, task.classes) == (4, ["a", "b", "c"])
    assert sum(map(len, task.splits.values())) == 60
    rows = task.splits["test"]
    number = round(float(rows.row(0)[0, 0]) * 60)
    assert rows.labels[0] == number % 3
    assert np.allclose(rows.row(0)[:, 0], number / 60 + np.arange(16))


def test_colours_are_features_of_a_pixel():
    pictures = [(torch.arange(12.0).view(3, 2, 2) + i, i % 2) for i in range(60)]
    rows = from_dataset(pictures, title="colours").splits["training"]
    assert rows.values.shape == (4 * len(rows), 3)
    assert np.allclose(rows.row(0) - rows.row(0)[0, 0], [[0, 4, 8], [1, 5, 9], [2, 6, 10], [3, 7, 11]])


def test_images_are_scaled_to_one():
    from PIL import Image

    items = [(Image.fromarray(np.full((2, 2), 200 + i, np.uint8)), i % 2) for i in range(50)]
    rows = from_dataset(items, title="images").splits["training"]
    assert rows.values.shape[1] == 1
    assert 200 / 255 <= rows.values.min() <= rows.values.max() <= 249 / 255 + 1e-6


def test_named_splits_with_named_parts():
    def items(n):
        return [{"sentence": f"text {i}", "label": ("no", "yes")[i % 2]} for i in range(n)]

    data = {"train": items(40), "validation": items(4), "test": items(6)}
    task = from_dataset(data, title="sentences", inputs="sentence", label="label")
    assert [len(rows) for rows in task.splits.values()] == [40, 4, 6]
    assert bytes(task.splits["test"].row(1)) == b"text 1"
    assert task.classes == ["no", "yes"]
    first = from_dataset({**data, "train": items(41)}, title="", inputs="sentence", label="label").facts
    assert first["SHA-256 of the test data"] == task.facts["SHA-256 of the test data"]
    assert first["SHA-256 of the training data"] != task.facts["SHA-256 of the training data"]


def test_tokens_and_series():
    tokens = from_dataset([(np.arange(1 + i), i % 2) for i in range(60)], title="tokens")
    assert tokens.splits["training"].values.ndim == 1
    series = from_dataset([(np.arange(4.0) + i, i % 2) for i in range(60)], title="series")
    assert series.splits["training"].values.shape[1] == 1


def test_texts_without_labels_are_a_language_to_learn():
    texts = [f"text number {i}" for i in range(60)]
    task = from_dataset(texts, title="texts", label=None, length=8)
    assert isinstance(task, TextTask)
    found = [text for tokens in task.tokens.values() for text in bytes(tokens).split(b"\0")[1:]]
    assert sorted(map(bytes.decode, found)) == sorted(texts)


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        ([{"text": "a"}] * 9, {"inputs": "txt"}, "item 0 of the training data lacks 'txt': it has 'text'"),
        ([(1.0,)] * 9, {}, "item 0 of the training data has 0 dimensions"),
        ([("a",)] * 9, {}, "item 0 of the training data lacks 1: it is a tuple"),
        ([("", 1)] * 9, {}, "item 0 of the training data is empty"),
        ([("a", None)] * 9, {}, "item 0 of the training data: label 1 is empty"),
        ([("a", 1)] * 9, {}, "split has no items; give more, or a larger share"),
        ({"trian": []}, {}, "data has the split 'trian'; did you mean train"),
        ({"test": []}, {}, "data has no split train"),
        (iter([]), {}, "without a length; give a list or a data set"),
        (
            {"train": [("a", 0), ("b", 1)], "valid": [("c", 2)]},
            {},
            "item 0 of the validation data, has the label '2'",
        ),
        ([("a", 3), ("b", 0)] * 30, {"classes": ["x", "y"]}, "has the label '[03]'"),
        ([(np.array([np.nan]), 1)] * 9, {}, "item 0 of the training data is array.*not finite numbers"),
    ],
)
def test_what_is_wrong_is_named(data, options, message):
    with pytest.raises(ValueError, match=message):
        from_dataset(data, title="wrong", **options)
