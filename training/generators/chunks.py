"""Data made chunk by chunk, by several processes, and kept so that an interrupted run of them can go on."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from itertools import count
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Chunk = dict[str, NDArray[Any]]


def chunks(make: Callable[[int], Chunk], *, workers: int = 1, folder: Path | None = None) -> Iterator[Chunk]:
    """`make(0)`, `make(1)`, ... without end.

    Args:
        make: a function of the chunk's number alone; other processes must be able to import it.
        workers: processes; 1 makes the chunks in this one, when they are asked for. More make some ahead.
        folder: where chunks are kept, and taken from if they are there; None: nowhere.

    Raises:
        OSError: if a chunk cannot be kept.
    """
    if workers == 1:
        yield from (_kept(folder, number) or _keep(folder, number, make(number)) for number in count())
        return
    waiting: deque[Chunk | Future[Chunk]] = deque()
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        try:
            for number in count():
                for ahead in range(number + len(waiting), number + 2 * workers):
                    waiting.append(_kept(folder, ahead) or pool.submit(make, ahead))
                first = waiting.popleft()
                yield _keep(folder, number, first.result()) if isinstance(first, Future) else first
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _path(folder: Path, number: int) -> Path:
    return folder / f"{number:06d}.npz"


def _kept(folder: Path | None, number: int) -> Chunk | None:
    if folder is None or not _path(folder, number).exists():
        return None
    with np.load(_path(folder, number)) as arrays:
        return dict(arrays)


def _keep(folder: Path | None, number: int, chunk: Chunk) -> Chunk:
    if folder is not None:
        from sma.architectures.files.atomic import write_whole  # torch is imported with it

        def save(path: Path) -> None:
            with path.open("wb") as file:
                np.savez(file, **chunk)  # type: ignore[arg-type]

        write_whole(_path(folder, number), save)
    return chunk
