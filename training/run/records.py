"""The files of a run folder as pydantic models, which check what is read, however it is damaged."""

from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, Json, TypeAdapter, ValidationError
from typing_extensions import NotRequired, TypedDict

from sma.architectures.files.reading import read_whole
from sma.spec.errors import one_line
from sma.training.run.errors import RunError, cause
from sma.training.run.position import Finite, Natural, Position

MAX_BYTES = 2**26
"""The largest facts.json and results.json that are read."""

MAX_LINE = 2**20
"""The longest line of metrics.jsonl that is read."""

Ending = Literal["finished", "stopped early", "time limit", "interrupted", "terminated"]
Rates = dict[str, list[Finite]]

STRICT = ConfigDict(strict=True, frozen=True, allow_inf_nan=False)
R = TypeVar("R", bound=BaseModel)


class Facts(BaseModel):
    """facts.json: the data, versions, the machine and every command that worked on the run."""

    model_config = STRICT

    task: str
    data: dict[str, str]
    parameters: Natural
    versions: dict[str, str]
    machine: dict[str, str | int | None]
    started: str
    commands: list[str]


class Score(BaseModel):
    """The test of a run's best model, see `Evaluation`."""

    model_config = STRICT

    loss: Finite
    accuracy: Annotated[float, Field(ge=0, le=1)]
    n_targets: Natural
    seconds: Finite
    activation_rates: Rates
    bits: Finite
    targets_per_unit: Annotated[Finite, Field(gt=0)] = 1.0

    @property
    def n_units(self) -> int:
        """How many units were scored; see `Evaluation`."""
        return round(self.n_targets / self.targets_per_unit)


class Results(BaseModel):
    """results.json: what the run measured, beside the baselines."""

    model_config = STRICT

    ending: Ending
    steps: Natural
    best_step: Natural | None
    training_seconds: Annotated[float, Field(ge=0, le=1e12)]
    validation_seconds: Annotated[float, Field(ge=0, le=1e12)] = 0.0
    operations: Natural | None = None
    elements: Natural | None = None
    parameters: Natural
    headline: Literal["bits", "accuracy"]
    unit: str
    test: Score
    baselines: dict[str, Finite]

    @property
    def value(self) -> float:
        """The headline measure of the test."""
        return self.test.bits if self.headline == "bits" else self.test.accuracy


class TrainingRow(TypedDict):
    """A line of metrics.jsonl about the steps since the one before."""

    step: Natural
    split: Literal["training"]
    loss: Finite
    bits: Finite
    auxiliary: dict[str, Finite]
    gradient_norm: Finite
    learning_rate: Finite
    activation: Rates
    elements_per_second: Finite
    seconds: Finite
    operations: NotRequired[Natural]
    loss_scale: NotRequired[Finite]


class ValidationRow(TypedDict):
    """A line of metrics.jsonl about a validation."""

    step: Natural
    split: Literal["validation"]
    loss: Finite
    bits: Finite
    accuracy: Finite
    activation: Rates
    seconds: Finite
    operations: NotRequired[Natural]
    best: NotRequired[bool]


Row = TrainingRow | ValidationRow
_ROW: TypeAdapter[Row] = TypeAdapter(
    Annotated[Row, Field(discriminator="split")], config=ConfigDict(strict=True, allow_inf_nan=False)
)


class Metadata(BaseModel):
    """The metadata of last.safetensors."""

    model_config = STRICT

    format: str
    spec: Json[dict[str, Any]]
    position: Json[Position]
    optimizer: Json[dict[str, dict[str, Any]]]
    scaler: Json[dict[str, Any]] = {}
    state: Json[list[str]]
    checksums: str


def read_record(path: Path, kind: type[R], *, remedy: str) -> R | None:
    """The record in a JSON file; None if there is no such file.

    Raises:
        RunError: if the file is damaged, too large, nested too deep or is not a regular file.
    """
    try:
        return kind.model_validate_json(read_whole(path, limit=MAX_BYTES))
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise RunError(f"{path} is damaged ({one_line(error)}); {remedy}") from error
    except ValueError as error:
        raise RunError(f"{cause(error)}; {remedy}") from error


def parse_row(line: bytes) -> Row | None:
    """A line of metrics.jsonl; None for a damaged one, as a full disk or a power cut leaves it."""
    try:
        return _ROW.validate_json(line)
    except ValidationError:
        return None
