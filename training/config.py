"""`TrainSpec`: everything that determines a run."""

import difflib
import hashlib
import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_type_hints

import yaml
from pydantic import BeforeValidator, Field, field_validator, model_validator

import sma.architectures
from sma import OneOf, Spec, register
from sma.architectures.families import ModelSpec
from sma.training import digits, graphs, text  # noqa: F401  (their tasks join the family)
from sma.training.optimizers import AdamWSpec, OptimizerSpec
from sma.training.schedules import LinearSchedule, ScheduleSpec
from sma.training.tasks import TaskSpec

Count = Annotated[int, Field(ge=1)]

WITHOUT_INFLUENCE = {"time_limit", "log_interval", "device", "threads", "activation_checkpointing"}
"""Fields that a resumed run may change: they do not alter what a step computes, up to rounding."""


def model_presets() -> dict[str, Callable[..., ModelSpec]]:
    """The functions in `sma.architectures` that make a model's spec from options, by name."""
    found: dict[str, Callable[..., ModelSpec]] = {}
    for name in sma.architectures.__all__:
        function = getattr(sma.architectures, name)
        if inspect.isfunction(function):
            result = get_type_hints(function).get("return")
            kinds = {parameter.kind for parameter in inspect.signature(function).parameters.values()}
            only_options = kinds <= {inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.VAR_KEYWORD}
            if only_options and inspect.isclass(result) and issubclass(result, ModelSpec):
                found[name] = function
    return found


def preset_options(name: str) -> list[str]:
    """The names of a preset's arguments.

    Raises:
        ValueError: if there is no such preset.
    """
    options: list[str] = []
    known = model_presets()
    if name not in known:
        raise ValueError(f"there is no preset {name!r}{near(str(name), known)}")
    for parameter in inspect.signature(known[name]).parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            options += [key for hint in get_args(parameter.annotation) for key in get_type_hints(hint)]
        else:
            options.append(parameter.name)
    return options


def starting_sizes(name: str) -> dict[str, int]:
    """Sizes to begin with, for a preset that cannot do without; none for one that can."""
    required = inspect.signature(model_presets()[name]).parameters.get("d_model")
    if required is None or required.default is not required.empty:
        return {}
    ends = {"vocab_size": 256} if "vocab_size" in preset_options(name) else {"d_input": 256, "n_classes": 256}
    return {"d_model": 128, "n_layers": 4, **ends}


def expand_preset(value: Any) -> Any:
    """A mapping `{preset: NAME, ...}` as the spec that the preset gives; anything else as it is."""
    if not (isinstance(value, dict) and "preset" in value):
        return value
    options = {key: option for key, option in value.items() if key != "preset"}
    names = preset_options(value["preset"])
    for name in options:
        if name not in names:
            raise ValueError(f"preset {value['preset']} has no option {name!r}{near(name, names)}")
    function = model_presets()[value["preset"]]
    parameters = inspect.signature(function).parameters.values()
    missing = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty]
    missing = [name for name in missing if name not in options]
    if missing:
        raise ValueError(f"preset {value['preset']} needs {' and '.join(missing)}; set them")
    return function(**options)


def near(name: str, known: Any) -> str:
    """A hint for a name that does not exist: the closest ones that do, or all of them."""
    close = difflib.get_close_matches(name, list(known), 3)
    if close:
        return f"; did you mean {' or '.join(close)}?"
    return f"; there are: {', '.join(known)}"


@register
class TrainSpec(Spec):
    """A run: a model, a task, and how one learns the other.

    Attributes:
        task: the data.
        model: a model's spec, or `{preset: seqboat, d_model: 128, ...}` with the arguments of a preset.
        seed: of weights, data order and dropout.
        steps: how many; None to go on until `time_limit`.
        time_limit: seconds of training, validations included; the run ends at whichever comes first.
        batch_size: rows per micro-batch.
        accumulation: micro-batches per step.
        learning_rate: the highest.
        schedule: how it rises and falls; over `steps`, or over `time_limit` where there are none.
        optimizer: what uses it.
        clip: the highest norm of the gradient; None for no limit.
        precision: of the computation; `bfloat16` keeps the weights in float32 (autocast).
        activation_checkpointing: compute each block's activations again in the backward pass instead of
            keeping them. The results are the same; a step takes less memory and up to a third more time.
        validation_interval: steps between validations, and between checkpoints.
        log_interval: steps between lines of metrics.jsonl.
        device: `auto` (a GPU if there is one), or a torch device.
        threads: of the CPU; None for torch's choice. Another number may change the last bits of results.
    """

    kind: Literal["training"] = "training"
    task: OneOf[TaskSpec]
    model: Annotated[OneOf[ModelSpec], BeforeValidator(expand_preset)]
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    steps: Count | None = 1000
    time_limit: Annotated[float, Field(gt=0)] | None = None
    batch_size: Count = 16
    accumulation: Count = 1
    learning_rate: Annotated[float, Field(gt=0)] = 5e-3
    schedule: OneOf[ScheduleSpec] = LinearSchedule()
    optimizer: OneOf[OptimizerSpec] = AdamWSpec()
    clip: Annotated[float, Field(gt=0)] | None = 1.0
    precision: Literal["float32", "float64", "bfloat16"] = "float32"
    activation_checkpointing: bool = False
    validation_interval: Count = 100
    log_interval: Count = 10
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

    @model_validator(mode="after")
    def _check_end(self) -> "TrainSpec":
        if self.steps is None and self.time_limit is None:
            raise ValueError(
                "steps and time_limit are both null, so the run would never end; set one of them"
            )
        return self

    @property
    def digest(self) -> str:
        """A hash of all fields that influence what a step computes."""
        return hashlib.sha256(json.dumps(self.influential(), sort_keys=True).encode()).hexdigest()

    def influential(self) -> dict[str, Any]:
        """The fields that influence what a step computes, as JSON values."""
        return self.model_dump(mode="json", exclude=WITHOUT_INFLUENCE)


def read_yaml(path: str | Path) -> dict[str, Any]:
    """The mapping in a YAML or JSON file.

    Raises:
        ValueError: if there is no such file, or it holds something else.
    """
    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"cannot read {path} ({error.strerror}); name a YAML or JSON file") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not valid YAML or JSON: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path} holds {type(values).__name__} instead of a mapping of fields")
    return values
