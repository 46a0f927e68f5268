"""Fashion-MNIST, from made files in IDX format, and from Debian's package where it is installed."""

import gzip
import struct

import numpy as np
import pytest
import torch

from sma.training.tasks.standins.fashion_mnist import FOLDER, FashionMNISTSpec, read_idx


def write_idx(path, array):
    header = b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    path.write_bytes(gzip.compress(header + array.tobytes()))


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (24, 28, 28), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path, images):
    for name, count in (("train", 24), ("t10k", 10)):
        write_idx(tmp_path / f"{name}-images-idx3-ubyte.gz", images[:count])
        write_idx(tmp_path / f"{name}-labels-idx1-ubyte.gz", np.arange(count, dtype=np.uint8) % 10)
    return tmp_path


def test_pixels_labels_and_splits(folder, images):
    task = FashionMNISTSpec(folder=str(folder)).build()
    assert [len(rows) for rows in task.splits.values()] == [22, 2, 10]
    validation = task.splits["validation"]
    assert np.array_equal(validation.row(1)[:, 0], images[23].ravel())
    assert validation.labels.tolist() == [2, 3]
    batch = task.training_batch(3, torch.Generator().manual_seed(0))
    assert batch.inputs.shape == (3, 784, 1)
    assert torch.equal(batch.roles, (batch.inputs[..., 0] > 0).long())


def test_smaller_images_are_means(folder, images):
    task = FashionMNISTSpec(folder=str(folder), side=14, n_test=4).build()
    first = task.splits["test"].row(0).reshape(14, 14)
    wanted = [[images[0][2 * i : 2 * i + 2, 2 * j : 2 * j + 2].mean() for j in range(14)] for i in range(14)]
    assert np.abs(first - np.array(wanted)).max() <= 0.5
    assert len(task.splits["test"]) == 4
    assert "14 x 14" in task.title


def packed(content):
    """Compressed without a time, so that every process that collects the tests makes the same bytes."""
    return gzip.compress(content, mtime=0)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"not gzip", "is damaged"),
        (packed(b"\0\0\x0d\1" + b"\0\0\0\1" + b"\0\0\0\0"), "does not begin as an IDX file of bytes"),
        (packed(b"\0\0\x08\1\0\0\0\5ab"), "cannot reshape"),
        (packed(b"\0\0\x08"), "is damaged"),
    ],
)
def test_damaged_files(tmp_path, content, told):
    path = tmp_path / "train-labels-idx1-ubyte.gz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"{told}.*install dataset-fashion-mnist anew"):
        read_idx(path)


def test_files_that_do_not_belong_together(folder):
    write_idx(folder / "train-labels-idx1-ubyte.gz", np.zeros(7, np.uint8))
    with pytest.raises(ValueError, match=r"shape \(24, 28, 28\) and .* shape \(7,\) are not images"):
        FashionMNISTSpec(folder=str(folder)).build()


def test_a_missing_file(tmp_path):
    with pytest.raises(
        ValueError, match=r"train-images.* is missing; .*apt-get install dataset-fashion-mnist"
    ):
        FashionMNISTSpec(folder=str(tmp_path)).build()


@pytest.mark.skipif(not FOLDER.exists(), reason="apt-get install dataset-fashion-mnist")
def test_the_package():
    task = FashionMNISTSpec(side=14).build()
    assert [len(rows) for rows in task.splits.values()] == [55_000, 5_000, 10_000]
    assert np.bincount(task.splits["test"].labels).tolist() == [1000] * 10
