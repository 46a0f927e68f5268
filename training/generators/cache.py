"""Data sets that are prepared once and kept: the cache, rows in it, and the progress of making them."""

import hashlib
import json
import os
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from sma.architectures.files.atomic import write_whole
from sma.training.generators.chunks import Chunk

DONE = "done.json"
LOCK = "lock"
ROW_DTYPE = "<i8"


def cache_root() -> Path:
    """The folder of all data sets: `$SMA_CACHE`, or `~/.cache/sma`."""
    return Path(os.environ.get("SMA_CACHE") or Path.home() / ".cache" / "sma")


def cached(
    name: str, key: Mapping[str, Any], make: Callable[[Path], dict[str, str]]
) -> tuple[Path, dict[str, str]]:
    """The folder of a data set that is made once, and the facts about it.

    Two processes that want it at once make it once. What was interrupted goes on with what `make` had kept
    in the folder.

    Args:
        name: of the data set, with which the folder's name begins.
        key: what the data depend on, as JSON values.
        make: fills the folder and returns facts.

    Raises:
        ValueError: if the folder cannot be written.
    """
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
    folder = cache_root() / f"{name}-{digest}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder / LOCK):
            if not (folder / DONE).exists():
                facts = make(folder)
                write_whole(folder / DONE, json.dumps({"key": dict(key), "facts": facts}, indent=2) + "\n")
            with whole_or_damaged(folder):
                return folder, json.loads((folder / DONE).read_text())["facts"]
    except OSError as error:
        raise ValueError(
            f"cannot prepare the data in {folder} ({error.strerror or error}); free some space there, "
            "or name another folder in the environment variable SMA_CACHE; what was made so far is kept"
        ) from error


def save_rows(folder: Path, parts: Iterable[Chunk], sizes: Mapping[str, int], *, unit: str) -> dict[str, str]:
    """Deal out rows to splits, in their order, and write each split as it comes.

    Args:
        folder: of the data set.
        parts: of rows: `ends (k,)` and `labels (k,)`, and arrays that hold all elements of the rows, one of
            which is `values`.
        sizes: rows per split, in order.
        unit: what one row is called, for the progress.

    Returns:
        The SHA-256 of each split, as facts.

    Raises:
        ValueError: if there are too few rows.
    """
    facts = {}
    with progress(f"making {sum(sizes.values()):,} {unit}s", sum(sizes.values())) as advance:
        for split, dealt in groupby(_deal(parts, sizes, advance), key=itemgetter(0)):
            facts[f"SHA-256 of the {split} data"] = write_split(folder, split, (part for _, part in dealt))
    return facts


def _deal(
    parts: Iterable[Chunk], sizes: Mapping[str, int], advance: Callable[[int], None]
) -> Iterator[tuple[str, Chunk]]:
    stream = iter(parts)
    part, start = next(stream), 0
    for split, missing in sizes.items():
        while missing:
            if start == len(part["ends"]):
                try:
                    part, start = next(stream), 0
                except StopIteration:
                    message = f"there are {missing:,} rows too few for {dict(sizes)}; ask for fewer"
                    raise ValueError(message) from None
            stop = min(start + missing, len(part["ends"]))
            yield split, _slice(part, start, stop)
            advance(stop - start)
            missing, start = missing - (stop - start), stop


def _slice(part: Chunk, start: int, stop: int) -> Chunk:
    """Rows `start` to `stop` of a part."""
    first, last = (int(part["ends"][i - 1]) if i else 0 for i in (start, stop))
    cut = {name: array[first:last] for name, array in part.items() if name not in ("ends", "labels")}
    return {**cut, "ends": part["ends"][start:stop] - first, "labels": part["labels"][start:stop]}


def write_split(folder: Path, split: str, parts: Iterable[Chunk]) -> str:
    """Write the rows of a split as they come; see `save_rows`.

    Returns:
        Their SHA-256.
    """
    n_elements, arrays, ends, labels = 0, {}, [], []
    digests: dict[str, Any] = defaultdict(hashlib.sha256)
    with ExitStack() as stack:
        files: dict[str, IO[bytes]] = {}
        for part in parts:
            ends.append(part["ends"] + n_elements)
            labels.append(part["labels"])
            for name, array in part.items():
                if name in ("ends", "labels"):
                    continue
                if name not in files:
                    files[name] = stack.enter_context((folder / f"{split}.{name}.bin").open("wb"))
                    arrays[name] = {"dtype": array.dtype.str, "shape": array.shape[1:]}
                content = np.ascontiguousarray(array).tobytes()
                files[name].write(content)
                digests[name].update(content)
            n_elements = int(ends[-1][-1])
        for file in files.values():
            file.flush()
            os.fsync(file.fileno())
    for name, pieces in (("ends", ends), ("labels", labels)):
        joined = np.concatenate(pieces).astype(ROW_DTYPE)
        digests[name].update(joined.tobytes())
        joined.tofile(folder / f"{split}.{name}.bin")
        arrays[name] = {"dtype": ROW_DTYPE, "shape": ()}
    write_whole(folder / f"{split}.json", json.dumps(arrays))
    whole = hashlib.sha256()
    for name in sorted(digests):
        whole.update(digests[name].digest())
    return whole.hexdigest()


def load_arrays(folder: Path, split: str) -> Chunk:
    """The arrays of a split, mapped from their files.

    Raises:
        ValueError: if a file is missing or damaged.
    """
    with whole_or_damaged(folder):
        kinds = json.loads((folder / f"{split}.json").read_text())
        arrays = {name: _load_array(folder / f"{split}.{name}.bin", **kind) for name, kind in kinds.items()}
        n_rows, n_elements = len(arrays["ends"]), int(arrays["ends"][-1])
        for name, array in arrays.items():
            expected = n_rows if name in ("ends", "labels") else n_elements
            if len(array) != expected:
                raise ValueError(f"{split}.{name}.bin holds {len(array):,} values instead of {expected:,}")
        return arrays


@contextmanager
def whole_or_damaged(folder: Path) -> Iterator[None]:
    """Say what to do about an error while prepared data are read."""
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise ValueError(
            f"the prepared data in {folder} are damaged ({error}); remove that folder, and they are made "
            "again"
        ) from error


def _load_array(path: Path, *, dtype: str, shape: Sequence[int]) -> NDArray[Any]:
    """Numbers of rows in memory, those of elements mapped from the file."""
    flat = np.fromfile(path, dtype) if not shape and dtype == ROW_DTYPE else np.memmap(path, dtype, "r")
    return flat.reshape(-1, *shape)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Wait until no other process holds the lock, and hold it; it ends with the process."""
    import fcntl

    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def progress(title: str, n: int | None) -> Iterator[Callable[[int], None]]:
    """A progress bar on a terminal's standard error, if rich is installed, which what it gives advances."""
    if not sys.stderr.isatty() or find_spec("rich") is None:
        yield lambda done: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=n)
        yield lambda done: bar.advance(task, done)
