"""Messages about wrong specs; the fields are those of test kinds."""

from typing import Annotated, Literal

import pytest
from pydantic import Field, ValidationError

from sma import OneOf, Spec, register


class ToolSpec(Spec):
    """A family."""


@register
class Saw(ToolSpec):
    kind: Literal["saw"] = "saw"
    teeth: Annotated[int, Field(ge=1)] | None = None
    length: Annotated[int, Field(ge=1)] | Annotated[float, Field(gt=0, le=1)] = 3


@register
class Box(ToolSpec):
    kind: Literal["box"] = "box"
    tools: Annotated[tuple[OneOf[ToolSpec], ...], Field(min_length=1)]


def mistakes(**fields):
    with pytest.raises(ValidationError) as caught:
        Box(**fields)
    text = str(caught.value)
    assert "https://" not in text
    assert "Value error" not in text
    assert f"{len(caught.value.errors())} validation error" in text
    return {".".join(map(str, detail["loc"])): detail["msg"] for detail in caught.value.errors()}


def nested(**tool):
    return mistakes(tools=[{"kind": "box", "tools": [{"kind": "saw"}, {"kind": "saw", **tool}]}])


def test_a_mistake_is_told_once_with_its_path():
    assert nested(teeth=0) == {
        "tools.0.tools.1.teeth": "Input should be greater than or equal to 1; null (None) is allowed too"
    }
    assert nested(teeth=0, length="a{b}").keys() == {"tools.0.tools.1.teeth", "tools.0.tools.1.length"}


def test_every_form_that_a_field_may_have_is_named():
    message = "Input should be greater than or equal to 1; or: Input should be greater than 0"
    assert nested(length=-1) == {"tools.0.tools.1.length": message}


def test_unknown_kinds_and_fields():
    assert nested(kind="swa")["tools.0.tools.1"].startswith(
        "unknown kind 'swa' of ToolSpec (is its package installed, or imported?); did you mean saw?"
    )
    assert nested(tooth=1)["tools.0.tools.1"].startswith("unknown field 'tooth'; did you mean teeth?")


def test_missing_and_empty():
    assert mistakes() == {"tools": "is missing; set it"}
    assert "at least 1 item" in mistakes(tools=[])["tools"]
    assert mistakes(tools=[{"kind": "box"}]) == {"tools.0.tools": "is missing; set it"}
