"""`TrainSpec`: everything that determines a run."""

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from sma import OneOf, Spec, register
from sma.architectures.models.base import ModelSpec
from sma.architectures.presets.by_name import expand_preset
from sma.architectures.specs.fields import WHOLE, Count, Size
from sma.spec.base import Fields
from sma.training.loggers.logger import LoggerSpec
from sma.training.optimization.optimizers import LARGEST, AdamWSpec, OptimizerSpec
from sma.training.optimization.precision import PrecisionName
from sma.training.optimization.schedules import LinearSchedule, ScheduleSpec
from sma.training.parallel.kinds import ParallelSpec
from sma.training.tasks.task import TaskSpec

WITHOUT_INFLUENCE = {
    "time_limit",
    "patience",
    "log_interval",
    "checkpoint_interval",
    "loggers",
    "device",
    "threads",
    "activation_checkpointing",
    "compile",
    "parallel",
}
"""Fields that a resumed run may change: they do not alter what a step computes, up to rounding."""

Steps = Annotated[int, Field(ge=1, le=2**53), WHOLE]

MAX_THREADS = 1024
"""More threads than cores are of no use, and torch crashes where the system does not start all of them."""


class WeightsSource(Fields):
    """Weights to start from.

    Attributes:
        path: the folder of a run, whose best weights are taken, or of a model.
        new: parts that are not taken from there, such as `head`: they keep their initial weights.
    """

    path: Annotated[str, Field(min_length=1)]
    new: tuple[Annotated[str, Field(min_length=1)], ...] = ()


def _source(value: Any) -> Any:
    return {"path": value} if isinstance(value, str) else value


@register
class TrainSpec(Spec):
    """A run: a model, a task, and how one learns the other.

    Attributes:
        task: the data.
        model: a model's spec, or `{preset: seqboat, d_model: 128, ...}` with the arguments of a preset.
        weights: a folder of a run or a model whose weights to start from, or `{path: ..., new: [head]}` with
            the parts that differ; None for initial weights.
        seed: of weights, data order and dropout.
        steps: how many; None to go on until `operations` or `time_limit`. A run continues with more of them.
        operations: forward operations of training, those of routed parts as activated, padding left out; the
            run ends with the step that reaches them. A run continues with more of them.
        time_limit: seconds of training, validations included; the run ends at whichever comes first.
        batch_size: rows per micro-batch, of all processes together.
        accumulation: micro-batches per step.
        learning_rate: the highest.
        schedule: how it rises and falls: over `steps`; where there are none, over `operations`; where there
            are none either, over `time_limit`.
        optimizer: what uses it.
        average: the decay of a moving average of the weights, which is validated and kept as the best model;
            None for the weights themselves.
        patience: validations without a better loss after which the run ends; None for no limit.
        clip: the highest norm of the gradient; None for no limit.
        precision: of the computation; `bfloat16` and `float16` keep the weights in float32 (autocast), and
            the latter scales the loss.
        compile: compile the forward and the backward pass of a step, auxiliary losses included; the first
            step takes a minute or more.
        activation_checkpointing: compute each block's activations again in the backward pass instead of
            keeping them. The results are the same; a step takes less memory and up to a third more time.
        parallel: how the processes that torchrun started share the model; None: `ddp`. One process has
            nothing to share.
        validation_interval: steps between validations, each with a checkpoint.
        checkpoint_interval: steps between checkpoints without a validation; None for none.
        log_interval: steps between lines of metrics.jsonl.
        loggers: where these lines go besides, such as `tensorboard`.
        device: `auto` (a GPU if there is one), or a torch device.
        threads: of the CPU; None for torch's choice. Another number may change the last bits of results.
    """

    kind: Literal["training"] = "training"
    task: OneOf[TaskSpec]
    model: Annotated[OneOf[ModelSpec], BeforeValidator(expand_preset)]
    weights: Annotated[WeightsSource, BeforeValidator(_source)] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    steps: Steps | None = 1000
    operations: Annotated[float, Field(gt=0, le=2**62)] | None = None
    time_limit: Annotated[float, Field(gt=0)] | None = None
    batch_size: Size = 16
    accumulation: Size = 1
    learning_rate: Annotated[float, Field(gt=0, le=LARGEST)] = 5e-3
    schedule: OneOf[ScheduleSpec] = LinearSchedule()
    optimizer: OneOf[OptimizerSpec] = AdamWSpec()
    average: Annotated[float, Field(gt=0, lt=1)] | None = None
    patience: Count | None = None
    clip: Annotated[float, Field(gt=0, le=LARGEST)] | None = 1.0
    precision: PrecisionName = "float32"
    compile: bool = False
    activation_checkpointing: bool = False
    parallel: OneOf[ParallelSpec] | None = None
    validation_interval: Steps = 100
    checkpoint_interval: Steps | None = None
    log_interval: Steps = 10
    loggers: tuple[OneOf[LoggerSpec], ...] = ()
    device: Annotated[str, Field(min_length=1)] = "auto"
    threads: Count | None = None

    @field_validator("device")
    @classmethod
    def _check_device(cls, value: str) -> str:
        import torch

        if value != "auto":
            try:
                torch.device(value)
            except RuntimeError as error:
                raise ValueError("use auto, cpu, cuda or cuda:0") from error
        return value

    @field_validator("threads")
    @classmethod
    def _check_threads(cls, value: int | None) -> int | None:
        if value is not None and value > MAX_THREADS:
            raise ValueError(
                f"at most {MAX_THREADS:,} are allowed, since torch crashes where the system does not start "
                "them all; use as many as there are cores"
            )
        return value

    @model_validator(mode="after")
    def _check_end(self) -> "TrainSpec":
        if self.steps is None and self.operations is None and self.time_limit is None:
            raise ValueError(
                "steps, operations and time_limit are all null, so the run would never end; set one of them"
            )
        return self

    @property
    def digest(self) -> str:
        """A hash of all fields that influence what a step computes."""
        return hashlib.sha256(json.dumps(self.influential(), sort_keys=True).encode()).hexdigest()

    def influential(self) -> dict[str, Any]:
        """The fields that influence what a step computes, as JSON values."""
        return self.model_dump(mode="json", exclude=WITHOUT_INFLUENCE)
