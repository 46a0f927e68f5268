"""Writing beside training: one job at a time, in a thread of its own."""

from collections.abc import Callable
from functools import cached_property
from threading import Thread
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup


class Background:
    """Runs one job at a time beside this thread; a later one waits for the earlier one.

    Leaving its `with` block waits for the last job. An error of a job is raised by the next `wait`, `start`
    or end of the block, unless the block is left by another one.

    Example:
        >>> done = []
        >>> with Background() as background:
        ...     background.start(lambda: done.append(1))
        ...     background.start(lambda: done.append(2))
        >>> done
        [1, 2]
    """

    def __init__(self) -> None:
        self._thread: Thread | None = None
        self._error: BaseException | None = None

    @cached_property
    def group(self) -> "ProcessGroup":
        """Of all processes, on the CPU, for jobs alone; all processes must ask for it together at first."""
        from torch import distributed

        return distributed.new_group(backend="gloo")

    def start(self, job: Callable[[], None]) -> None:
        """Begin a job when the earlier one is done.

        Raises:
            BaseException: that of the earlier job, if it failed; the new one is not begun then.
        """
        self.wait()
        self._thread = Thread(target=self._run, args=(job,), name="background")
        self._thread.start()

    def wait(self) -> None:
        """Until the job is done.

        Raises:
            BaseException: that of the job, if it failed.
        """
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _run(self, job: Callable[[], None]) -> None:
        try:
            job()
        except BaseException as error:  # raised in the thread that waits
            self._error = error

    def __enter__(self) -> "Background":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.wait()
        except BaseException:
            if error is None:
                raise
