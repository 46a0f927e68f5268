"""Weights & Biases and trackio, whose Python interfaces are alike."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field
from typing_extensions import override

from sma import register
from sma.lazy import needs
from sma.training.loggers.logger import Logger, LoggerSpec

Name = Annotated[str, Field(min_length=1, max_length=128)]


class Tracker(Logger):
    """Logs to a module with `init`, `log` and `finish`, under the name of the run's folder.

    A run that continues is the same one there.

    Args:
        module: the module.
        options: further arguments of `init`.
        by_id: whether runs are known by an id; else by their name.
    """

    def __init__(self, module: Any, options: Mapping[str, Any], *, by_id: bool) -> None:
        self._module = module
        self._options = options
        self._by_id = by_id

    @override
    def start(self, folder: Path, values: dict[str, Any], step: int) -> None:
        name = folder.resolve().name
        known = {"id": hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]} if self._by_id else {}
        resume = "allow" if step or self._by_id else "never"
        self._module.init(name=name, config=values, resume=resume, **known, **self._options)

    @override
    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._module.log(dict(values), step=step)

    @override
    def close(self) -> None:
        self._module.finish()


@register
class WandbSpec(LoggerSpec):
    """Weights & Biases, by the package `wandb`.

    Attributes:
        project: where the run stands.
        entity: a user or a team; None for the default one.
        mode: `offline` keeps the run on this machine until `wandb sync`.
    """

    kind: Literal["wandb"] = "wandb"
    project: Name = "sma"
    entity: Name | None = None
    mode: Literal["online", "offline"] = "online"

    @override
    def build(self) -> Tracker:
        options = {"project": self.project, "entity": self.entity, "mode": self.mode}
        with needs("wandb", "the logger wandb"):
            import wandb

        return Tracker(wandb, options, by_id=True)


@register
class TrackioSpec(LoggerSpec):
    """trackio, by the package of that name.

    Attributes:
        project: where the run stands.
        space_id: a Space on Hugging Face, as `user/space`; None for this machine.
    """

    kind: Literal["trackio"] = "trackio"
    project: Name = "sma"
    space_id: Name | None = None

    @override
    def build(self) -> Tracker:
        options = {"project": self.project, "space_id": self.space_id}
        with needs("trackio", "the logger trackio"):
            import trackio

        return Tracker(trackio, options, by_id=False)
