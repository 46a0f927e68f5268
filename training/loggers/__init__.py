"""Where the lines of a run go besides metrics.jsonl."""

from sma.training.loggers.event_files import TensorBoardSpec
from sma.training.loggers.logger import Logger, LoggerSpec
from sma.training.loggers.trackers import TrackioSpec, WandbSpec

__all__ = ["Logger", "LoggerSpec", "TensorBoardSpec", "TrackioSpec", "WandbSpec"]
