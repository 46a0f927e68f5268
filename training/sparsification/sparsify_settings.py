"""The settings of a sparsification by the names of their fields, as `--set` changes them."""

from collections.abc import Sequence

from sma.checks import near
from sma.training.settings.overrides import Assignment, assigned
from sma.training.sparsification.distillation import Distillation
from sma.transformers import SparsifySpec


def sparsify_settings(assignments: Sequence[Assignment]) -> tuple[SparsifySpec, Distillation]:
    """The spec and the distillation that are the defaults but for some fields.

    Args:
        assignments: paths and values; the first name of a path is a field of either.

    Raises:
        ValueError: if there is no such field, or a value is wrong.
    """
    values = {**SparsifySpec().model_dump(mode="json"), **Distillation().model_dump()}
    for path, _ in assignments:
        if path[0] not in values:
            raise ValueError(f"there is no field {path[0]}{near(path[0], [*values])}")
    values = assigned(values, assignments)
    spec, settings = (
        {name: value for name, value in values.items() if name in fields}
        for fields in (SparsifySpec.model_fields, Distillation.model_fields)
    )
    return SparsifySpec.model_validate(spec), Distillation.model_validate(settings)
