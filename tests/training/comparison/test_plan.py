"""Which controls a comparison has."""

import pytest

from sma.training.comparison.entrants import Entrant, read_entrants
from sma.training.comparison.plan import control_entrants

OWN = "model.blocks.0.branches.1.router="


@pytest.fixture
def entrants() -> list[Entrant]:
    settings = ["model.d_model=8", f"plain:{OWN}never", f"other:{OWN}sigmoid"]
    return read_entrants({"routed": "ready", "plain": "ready", "other": "ready"}, "digits", settings)


def names(entrants: list[Entrant], controls: list[str]) -> list[str]:
    return [made.name for made in control_entrants(entrants, controls)]


def test_controls_are_of_every_model_that_routes(entrants: list[Entrant]) -> None:
    assert names(entrants, ["random", "always"]) == [
        "routed-always",
        "routed-random",
        "other-always",
        "other-random",
    ]


def test_a_control_may_be_of_one_model(entrants: list[Entrant]) -> None:
    assert names(entrants, ["random", "other:never", "other:random"]) == [
        "routed-random",
        "other-never",
        "other-random",
    ]


@pytest.mark.parametrize(
    ("control", "message"),
    [
        ("sometimes", "there is no 'sometimes'; use always, never"),
        ("routed:sometimes", "there is no 'sometimes'; use always, never"),
        ("rooted:never", "rooted:never: there is no model 'rooted'; did you mean routed?"),
        ("plain:never", "controls: plain has no layer with a learned router"),
    ],
)
def test_a_control_that_cannot_be_made_is_an_error(
    entrants: list[Entrant], control: str, message: str
) -> None:
    with pytest.raises(ValueError, match="controls") as error:
        control_entrants(entrants, [control])
    assert message in str(error.value)
