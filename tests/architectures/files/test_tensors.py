import json
import resource
from contextlib import contextmanager

import pytest
import torch
from safetensors.torch import load_file, save_file

from sma.architectures.files import tensors
from sma.architectures.files.tensors import load_tensors, save_tensors

WEIGHT = torch.arange(6.0).view(2, 3)
TENSORS = {
    "weight": WEIGHT,
    "a view of it": WEIGHT[0],
    "transposed": WEIGHT.t(),
    "none": torch.zeros(0, 3),
    "a number": torch.tensor(3),
    "bool": torch.tensor([True, False]),
    "bfloat16": torch.ones(2, dtype=torch.bfloat16),
    "complex": torch.ones(2, dtype=torch.complex64),
}


@pytest.fixture
def path(tmp_path):
    save_tensors(tmp_path / "file.safetensors", TENSORS, {"step": "3"})
    return tmp_path / "file.safetensors"


@contextmanager
def full_disk(at=10_000):
    """Inside, a file cannot grow beyond `at` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (at, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_what_is_written_is_read(path):
    tensors, metadata = load_tensors(path)
    assert tensors.keys() == TENSORS.keys()
    assert metadata["step"] == "3"
    for name, tensor in TENSORS.items():
        assert tensors[name].dtype == tensor.dtype
        assert torch.equal(tensors[name], tensor)


def test_a_flipped_bit_is_named(path):
    content = bytearray(path.read_bytes())
    content[content.rindex(WEIGHT.numpy().tobytes()) + 9] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"file\.safetensors is damaged: weight differs .* copy it again"):
        load_tensors(path)


def test_a_flip_anywhere_is_an_error_of_one_line(path):
    content = path.read_bytes()
    start = content.index(b'"checksums')
    for place in range(0, len(content), 3):
        if start <= place < start + len('"checksums":'):  # a file without checksums is accepted
            continue
        flipped = bytearray(content)
        flipped[place] ^= 1 << place % 8
        path.write_bytes(flipped)
        with pytest.raises(ValueError, match=r"file\.safetensors is (damaged|truncated)") as error:
            load_tensors(path)
        assert "\n" not in str(error.value)


def test_a_file_without_checksums_is_read(path):
    save_file(load_file(path), path)
    tensors, metadata = load_tensors(path)
    assert torch.equal(tensors["weight"], WEIGHT)
    assert metadata == {}


@pytest.mark.parametrize("checksums", ["{", "[]", "3", "{}", '{"weight": null}', "[" * 100_000])
def test_wrong_checksums_are_an_error(path, checksums):
    save_file(load_file(path), path, {"checksums": checksums})
    with pytest.raises(ValueError, match=r"file\.safetensors is damaged: "):
        load_tensors(path)


@pytest.mark.parametrize("length", [0, 7, 8, 100, -1])
def test_a_truncated_file_is_named(path, length):
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(
        ValueError, match=r"file\.safetensors is truncated or not a safetensors file .* again"
    ):
        load_tensors(path)


def test_a_full_disk_leaves_the_older_file(path):
    before = path.read_bytes()
    with full_disk(), pytest.raises(OSError, match="File too large") as error:
        save_tensors(path, {"weight": torch.zeros(10_000)})
    assert error.value.filename == str(path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_a_dtype_that_cannot_be_written_is_named(path):
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"phase is torch\.complex128, which safetensors files cannot hold"):
        save_tensors(path, {"weight": WEIGHT, "phase": torch.zeros(2, dtype=torch.complex128)})
    assert path.read_bytes() == before


def test_checksums_are_of_the_content_alone(path, tmp_path):
    save_tensors(tmp_path / "again", dict(reversed(TENSORS.items())), {"step": "3"})
    first, again = (json.loads(load_tensors(p)[1]["checksums"]) for p in (path, tmp_path / "again"))
    assert first == again


@pytest.mark.parametrize("name", ["a\nb", "\x1b[2J", "a" * 1001])
def test_a_strange_name_is_told_in_one_short_line(path, name):
    save_file({name: WEIGHT}, path)
    with pytest.raises(ValueError, match=r"holds a tensor with the name '.*'; copy the file again") as error:
        load_tensors(path)
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 500


def test_a_file_with_very_many_tensors_is_refused_before_they_are_read(path, monkeypatch):
    monkeypatch.setattr(tensors, "MORE", 3)
    save_file({str(i): WEIGHT.clone() for i in range(6)}, path)
    assert len(load_tensors(path, n_own=2)[0]) == 6
    with pytest.raises(ValueError, match=r"holds 6 tensors, and 1 are needed; name a file that the model"):
        load_tensors(path, n_own=1)
