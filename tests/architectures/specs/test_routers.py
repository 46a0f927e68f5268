import pytest
from pydantic import ValidationError

from sma.architectures.specs.routers import ActivationBudgetSpec, GumbelSpec
from sma.modules import Ramp

BUDGET = {"router": "sigmoid", "coefficient": 1.0}


def test_a_ramp_arrives():
    router = GumbelSpec.model_validate({"temperature": {"start": 2, "end": 0.5}}).build(4, 2)
    assert router.temperature.value == Ramp(2.0, 0.5, 1.0)


@pytest.mark.parametrize(
    ("spec", "values", "message"),
    [
        (
            GumbelSpec,
            {"temperature": {"start": 1, "end": 2, "ovr": 1}},
            r"(?m)^temperature\n  unknown field 'ovr'; did you mean over\?",
        ),
        (
            GumbelSpec,
            {"temperature": {"start": 1, "end": 2, "x": 1}},
            r"(?m)^temperature\n  unknown field 'x'; there are: start, end, over ",
        ),
        (GumbelSpec, {"temperature": {"start": 1}}, r"(?m)^temperature\.end\n  is missing; set it"),
        (
            ActivationBudgetSpec,
            {**BUDGET, "rate": [0.2, {"start": 1, "end": 0.1, "strat": 3}]},
            r"(?m)^rate\.1\n  unknown field 'strat'; did you mean start\?",
        ),
        (ActivationBudgetSpec, {**BUDGET, "rate": 2}, r"(?m)^rate\n  .* less than or equal to 1"),
    ],
)
def test_a_wrong_ramp_is_told_where_it_stands(spec, values, message):
    with pytest.raises(ValidationError, match=message):
        spec.model_validate(values)


def test_the_kind_is_not_suggested_for_another_field():
    with pytest.raises(ValidationError, match="unknown field 'windw'; there are: temperature"):
        GumbelSpec.model_validate({"windw": 3})
