"""The check as a whole: violations are confirmed by their programs, and bad input is named."""

import functools
import random
import re

import pytest
import torch
from broken_models import Plain, SeesBatchMates
from torch import nn

from sma.testing import check_model


def test_a_violation_is_confirmed_by_its_program():
    report = check_model(SeesBatchMates, properties=["batch-mates"], examples=5)
    finding = report["batch-mates"]
    assert finding.confirmed
    assert len(finding.program.splitlines()) < 20
    assert finding.program.startswith("import torch\nfrom broken_models import SeesBatchMates\n")


NOT_RUN = "give a function without arguments that stands by its name in a module, or source="


def scaled(scale):
    """A function that calls a model, and which programs cannot import."""

    def call(model, x, mask):
        return model(x) * scale

    return call


@pytest.mark.parametrize(
    ("model", "options", "reason"),
    [
        (SeesBatchMates(), {}, "the model was given as an object"),
        (lambda: SeesBatchMates(), {}, r"<lambda> is not a name of the module \S+test_check_model"),
        (SeesBatchMates, {"call": scaled(2)}, "NameError: name 'scale' is not defined"),
    ],
)
def test_programs_that_cannot_be_run_confirm_nothing_and_refute_nothing(model, options, reason):
    report = check_model(model, properties=["batch-mates"], examples=5, **options)
    assert (report["batch-mates"].verdict, report["batch-mates"].confirmed) == ("violated", None)
    assert re.search(reason, report.why_not_run)
    assert NOT_RUN in report.why_not_run
    assert "batch-mates, by a program that was not run:" in report.text()
    assert report.text().splitlines()[-1] == f"programs were not run: {report.why_not_run}"


def test_a_function_of_the_script_that_runs(monkeypatch):
    def build():
        return SeesBatchMates()

    monkeypatch.setattr(build, "__module__", "__main__")
    report = check_model(build, properties=["batch-mates"], examples=5)
    assert report["batch-mates"].verdict == "violated"
    assert "build is defined in the script or notebook that runs" in report.why_not_run


def test_nothing_is_said_of_programs_that_were_not_to_be_run():
    report = check_model(SeesBatchMates(), properties=["batch-mates"], examples=5, confirmed=False)
    assert report.why_not_run == ""
    assert check_model(Plain(), properties=["batch-mates"], examples=2).why_not_run == ""


def loses_its_weights():
    """A model whose state lacks a parameter."""
    model = Plain()
    model.linear._register_state_dict_hook(lambda module, state, *_: state.pop("linear.bias", None))
    model._register_load_state_dict_pre_hook(lambda state, *_: state.setdefault("linear.bias", torch.ones(4)))
    return model


def test_a_program_builds_anew_by_the_lines_that_were_given():
    lines = f"from {__name__} import loses_its_weights as made", "model = made().train()"
    finding = check_model(loses_its_weights, properties=["save and load"], source=lines)["save and load"]
    assert (finding.verdict, finding.confirmed) == ("violated", True)
    assert "def build():\n    model = made().train()\n    return model\n" in finding.program


def test_the_model_stays_as_it_was():
    model = Plain().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert check_model(model, examples=2, max_length=3).ok
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


class Refuses(Plain):
    """Takes padding on the right only."""

    def __init__(self, error=ValueError):
        super().__init__()
        self.error = error

    def forward(self, x, mask=None):
        if mask is not None and not mask[:, 0].all():
            raise self.error("no padding on the left")
        return self.linear(x)


@pytest.mark.parametrize(
    ("error", "verdict", "ok"), [(NotImplementedError, "limit", True), (ValueError, "refused", False)]
)
def test_what_a_model_refuses_is_told_in_its_words(error, verdict, ok):
    names = ["right padding", "left padding", "padding's content"]
    report = check_model(Refuses(error), properties=names, examples=10)
    assert report["right padding"].verdict == "holds"
    assert (report["left padding"].verdict, report["padding's content"].verdict) == (verdict, verdict)
    assert report["left padding"].error == f"{error.__name__}: no padding on the left"
    assert "mask = [[0, 1]]; so the model says for every input" in report["left padding"].detail
    assert "so the model says for" in report["padding's content"].reason
    assert "of 10" in report["padding's content"].reason
    assert report.ok == ok
    assert bool(report.refusals) != ok
    assert not report.violations


class Counts(Plain):
    """Sees batch-mates, more with every call, after those of a short program."""

    calls = 0

    def forward(self, x, mask=None):
        Counts.calls += 1
        return self.linear(x) + (len(x) > 1) * (Counts.calls > 8) * Counts.calls


def built_otherwise():
    """A model with a fault, but without one in a process of its own."""
    return SeesBatchMates() if Counts.calls else Plain()


def test_what_its_program_does_not_show_is_unconfirmed():
    for build, reason in (
        (Counts, "results differ between calls"),
        (built_otherwise, "earlier calls, or on"),
    ):
        report = check_model(build, properties=["batch-mates"], examples=5)
        finding = report["batch-mates"]
        assert (finding.verdict, finding.confirmed) == ("unconfirmed", False)
        assert reason in finding.reason
        assert report.ok
        assert finding.program not in report.text()


@pytest.mark.parametrize("batch_first", [True, False])
def test_rows_and_positions_that_are_swapped(batch_first):
    layer = nn.TransformerEncoderLayer(4, 2, 8, batch_first=batch_first)
    finding = check_model(layer, properties=["batch-mates"], examples=5)["batch-mates"]
    assert finding.verdict == ("holds" if batch_first else "violated")
    assert ("batch_first=True" in finding.reason) == (not batch_first)


def test_random_numbers_go_on_as_before():
    torch.manual_seed(3)
    random.seed(3)
    wanted = torch.rand(()), random.random()
    torch.manual_seed(3)
    random.seed(3)
    check_model(Plain, examples=2, max_length=3, properties=["recomputation", "causality"])
    assert (torch.rand(()), random.random()) == wanted


def test_functions_of_any_name():
    for build in (lambda: Plain(), functools.partial(Plain)):
        assert check_model(build, properties=["save and load"])["save and load"].verdict == "holds"


def test_an_error_is_a_violation():
    class Breaks(Plain):
        def forward(self, x, mask=None):
            return self.linear(x) * (len(x) == 1 or 1 // (x.shape[1] - 1) >= 0)

    finding = check_model(Breaks(), properties=["batch-mates"], examples=10)["batch-mates"]
    assert finding.verdict == "violated"
    assert finding.error.startswith("ZeroDivisionError")


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (3, {}, "model is of type int; give a torch.nn.Module, or a function"),
        (lambda: 3, {}, r"<lambda>\(\) returns int; give a torch.nn.Module"),
        (lambda: 1 // 0, {}, r"<lambda>\(\) raises ZeroDivisionError: .*; give a torch.nn.Module"),
        (nn.LayerNorm, {}, r"LayerNorm\(\) raises TypeError: .*; give a torch.nn.Module"),
        (Plain(), {"properties": ["casuality"]}, "there is no property 'casuality'; did you mean causality"),
        (Plain(), {"examples": 0}, "examples=0 must be an integer of at least 1"),
        (Plain(), {"window": 0}, "window=0 must be an integer of at least 1"),
        (Plain(), {"window": -3, "properties": ["causality"]}, "window=-3 must be an integer of at least 1"),
        (Plain(), {"max_length": 1}, "max_length=1 leaves nothing before or after an element"),
        (nn.Identity(), {}, "what Identity reads is not known"),
    ],
)
def test_bad_input(model, options, message):
    with pytest.raises(ValueError, match=message):
        check_model(model, **options)
