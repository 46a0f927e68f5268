"""Programs: what they measure, and that they show it by themselves."""

import pytest
import torch

from sma.testing.black_box.programs import Outcome, Trial, confirm, failure, program

TRIAL = Trial(
    ("expected = torch.tensor([[1.0], [2.0]])", "got = model(expected)"),
    places=((0, 0), (0, 1)),
)


def names(change):
    return {"torch": torch, "model": change}


def test_the_largest_difference_relative_to_the_largest_value_and_the_first_place():
    outcome = TRIAL.run(names(lambda x: x + torch.tensor([[0.0], [0.5]])), 0.1)
    assert (outcome.difference, outcome.first) == (pytest.approx(0.2), 1)
    assert outcome.violates(0.1)
    assert not outcome.violates(0.3)


def test_what_is_not_a_number_is_a_violation():
    outcome = TRIAL.run(names(lambda x: x * float("nan")), 0.1)
    assert outcome.violates(1e9)
    assert outcome.first == 0


def test_errors_are_violations_and_refusals_are_told_apart():
    broken = TRIAL.run(names(lambda x: x[5]), 0.1)
    assert broken.violates(0.1)
    assert not broken.refused
    stated = Outcome(float("inf"), error=NotImplementedError("no cache"))
    assert stated.refused
    assert stated.stated
    unclear = Outcome(float("inf"), error=ValueError("no cache"))
    assert unclear.refused
    assert not unclear.stated


def test_results_of_another_shape_are_an_error():
    assert isinstance(TRIAL.run(names(lambda x: x[:1]), 0.1).error, RuntimeError)


def test_imports_come_first():
    text = program(("from a import b", "model = b()"), ("import io",), TRIAL)
    assert text.splitlines()[:4] == ["import torch", "from a import b", "import io", "model = b()"]
    assert len(text.splitlines()) < 20


def test_a_program_is_confirmed_by_running_it():
    assert confirm("print('name', 0.5)", 0.1, None)
    assert not confirm("print(0.5)", 0.9, None)
    assert confirm("print(float('nan'))", 0.9, None)
    assert confirm("[][5]", 0.1, IndexError("out of bounds"))
    assert not confirm("[][5]", 0.1, KeyError("other"))
    assert not confirm("[][5]", 0.1, None)
    assert not confirm("while True: pass", 0.1, None, seconds=0.2)


def test_why_a_program_fails():
    assert failure("print(0.5)") == ""
    assert failure("import nowhere") == "ModuleNotFoundError: No module named 'nowhere'"
    assert failure("raise SystemExit(3)") == "exit code 3"
    assert failure("while True: pass", seconds=0.2) == "it takes more than 0.2 s"
