"""Types of the fields of specs."""

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from sma.modules.functional import activation_function


def _no_truth_value(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("must be a number")
    return value


def _whole_number(value: Any) -> Any:
    if isinstance(value, bool | str):
        raise ValueError("must be a whole number, without quotes")
    return value


WHOLE = BeforeValidator(_whole_number)
NUMBER = BeforeValidator(_no_truth_value)  # what YAML takes for text, such as 1e-3, may be one
Count = Annotated[int, Field(ge=1), WHOLE]
Size = Annotated[int, Field(ge=1, le=2**24), WHOLE]
Finite = Annotated[float, Field(allow_inf_nan=False), NUMBER]
Probability = Annotated[float, Field(ge=0, le=1), NUMBER]
Share = Annotated[float, Field(gt=0, le=1), NUMBER]
Dropout = Annotated[float, Field(ge=0, lt=1), NUMBER]
Coefficient = Annotated[float, Field(ge=0), NUMBER]
Positive = Annotated[float, Field(ge=1e-8, le=1e8), NUMBER]


def _known_activation(name: str) -> str:
    activation_function(name)
    return name


Activation = Annotated[str, AfterValidator(_known_activation)]
