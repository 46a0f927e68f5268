"""The cache: made once, by one process at a time, resumed after an interruption, refused when damaged."""

import json
import multiprocessing

import numpy as np
import pytest

from sma.training.generators.cache import cached, load_arrays, save_rows

SIZES = {"training": 5, "validation": 1, "test": 2}


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("SMA_CACHE", str(tmp_path))
    return tmp_path


def parts(lengths, per_part):
    """Rows that hold their own numbers, so many in each part."""
    for start in range(0, len(lengths), per_part):
        some = lengths[start : start + per_part]
        numbers = np.arange(start, start + len(some))
        values = np.repeat(numbers, some).astype(np.uint8)
        yield {
            "values": values,
            "pairs": np.stack([values, values], 1),
            "ends": np.cumsum(some),
            "labels": numbers,
        }


@pytest.mark.parametrize("per_part", [1, 3, 100])
def test_rows_are_dealt_out_in_order(root, per_part):
    lengths = [3, 1, 4, 1, 5, 9, 2, 6, 5]
    facts = save_rows(root, parts(lengths, per_part), SIZES, unit="row")
    assert list(facts) == [f"SHA-256 of the {name} data" for name in SIZES]
    first = 0
    for name, n in SIZES.items():
        arrays = load_arrays(root, name)
        assert arrays["labels"].tolist() == list(range(first, first + n))
        assert np.diff(arrays["ends"], prepend=0).tolist() == lengths[first : first + n]
        expected = np.repeat(arrays["labels"], lengths[first : first + n])
        assert arrays["values"].tolist() == expected.tolist()
        assert arrays["pairs"].tolist() == np.stack([expected, expected], 1).tolist()
        first += n


def test_the_hash_does_not_depend_on_the_parts(tmp_path):
    found = []
    for per_part in (2, 7):
        folder = tmp_path / str(per_part)
        folder.mkdir()
        found.append(save_rows(folder, parts([2] * 8, per_part), SIZES, unit="row"))
    assert found[0] == found[1]


def test_too_few_rows(root):
    with pytest.raises(ValueError, match="1 rows too few"):
        save_rows(root, parts([1] * 7, 2), SIZES, unit="row")


def test_data_are_made_once():
    made = []

    def make(folder):
        made.append(folder)
        return {"n": "1"}

    first, again = (cached("some", {"seed": 0}, make) for _ in range(2))
    other = cached("some", {"seed": 1}, make)
    assert first == again
    assert other[0] != first[0]
    assert made == [first[0], other[0]]


def test_an_interruption_keeps_what_was_made():
    def make(folder):
        (folder / "part").touch()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cached("some", {}, make)
    folder, _ = cached("some", {}, lambda folder: {"kept": str((folder / "part").exists())})
    assert json.loads((folder / "done.json").read_text())["facts"] == {"kept": "True"}


def _slowly(folder):
    import time

    with (folder / "log").open("a") as log:
        log.write("made\n")
    time.sleep(0.3)
    return {}


def _want():
    cached("shared", {}, _slowly)


def test_two_processes_make_it_once(root):
    context = multiprocessing.get_context("fork")
    both = [context.Process(target=_want) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(20)
        assert process.exitcode == 0
    (log,) = root.glob("shared-*/log")
    assert log.read_text() == "made\n"


def test_no_room_is_told(monkeypatch):
    def full(folder):
        raise OSError(28, "No space left on device")

    with pytest.raises(ValueError, match=r"No space left on device.*SMA_CACHE"):
        cached("some", {}, full)


@pytest.mark.parametrize(
    "damage",
    [
        lambda root: (root / "test.values.bin").unlink(),
        lambda root: (root / "test.json").unlink(),
        lambda root: (root / "test.json").write_text("{"),
        lambda root: cut(root / "test.values.bin"),
        lambda root: cut(root / "test.ends.bin"),
        lambda root: cut(root / "test.labels.bin"),
    ],
)
def test_damage_is_told(root, damage):
    save_rows(root, parts([3] * 8, 4), SIZES, unit="row")
    load_arrays(root, "test")
    damage(root)
    with pytest.raises(ValueError, match=r"damaged.*remove that folder"):
        load_arrays(root, "test")


def test_damage_of_the_facts_is_told(root):
    folder, _ = cached("some", {}, lambda folder: {"a": "b"})
    (folder / "done.json").write_text('{"facts"')
    with pytest.raises(ValueError, match=r"damaged.*remove that folder"):
        cached("some", {}, lambda folder: {"a": "b"})


def cut(path):
    path.write_bytes(path.read_bytes()[:-8])
