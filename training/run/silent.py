"""The run of several processes: one of them writes it."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typing_extensions import override

from sma.training.parallel.contract import Parallel
from sma.training.run.folder import Run


@dataclass(frozen=True)
class SilentRun(Run):
    """A run that another process writes: this one only reads it, and what it would write is dropped."""

    writes = False

    @override
    @contextmanager
    def lock(self) -> Iterator[None]:
        yield

    @override
    def write(self, name: str, content: str | bytes) -> Path:
        return self.path / name

    @override
    def log(self, row: Mapping[str, Any]) -> None:
        pass

    @override
    def sync_metrics(self) -> None:
        pass


def create_together(parallel: Parallel, create: Callable[[], Run]) -> Run:
    """The run that the first process creates; in the others one that writes nothing."""
    run = create() if parallel.is_main else None
    if run is not None:
        parallel.keep(str(run.path.resolve()))
    path = parallel.tell(None if run is None else str(run.path))
    return SilentRun(Path(path)) if run is None else run


def follow(parallel: Parallel, run: Run) -> Run:
    """A run that exists; in all processes but the first one that writes nothing."""
    return run if parallel.is_main else SilentRun(run.path)
