"""TensorBoard: event files in the run's folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from typing_extensions import override

from sma import register
from sma.lazy import needs
from sma.training.loggers.logger import Logger, LoggerSpec


class TensorBoard(Logger):
    """Writes event files to `tensorboard/` in the run's folder, for `tensorboard --logdir runs`.

    Args:
        writer: the class `SummaryWriter`.
    """

    def __init__(self, writer: Any) -> None:
        self._class = writer
        self._writer: Any = None

    @override
    def start(self, folder: Path, values: dict[str, Any], step: int) -> None:
        self._writer = self._class(str(folder / "tensorboard"), purge_step=step + 1 if step else None)
        if not step:
            self._writer.add_text("spec", f"```yaml\n{yaml.safe_dump(values, sort_keys=False)}```", 0)

    @override
    def log(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    @override
    def close(self) -> None:
        self._writer.close()


@register
class TensorBoardSpec(LoggerSpec):
    """Event files in the run's folder, by the package `tensorboard`."""

    kind: Literal["tensorboard"] = "tensorboard"

    @override
    def build(self) -> TensorBoard:
        with needs("tensorboard", "the logger tensorboard"):
            from torch.utils.tensorboard import SummaryWriter

        return TensorBoard(SummaryWriter)
