"""Calls of this project's models and modules."""

import pytest
from broken_models import RunningMean

from sma.architectures.presets.by_name import expand_preset
from sma.testing import check_model
from sma.testing.black_box.callers.choosing import choose_caller

SMALL = {"vocab_size": 16, "d_model": 8, "n_layers": 2}


@pytest.mark.parametrize(
    "preset",
    [
        {"preset": "seqboat", **SMALL, "window": 3},
        {"preset": "switch", **SMALL},
        {"preset": "seqboat", "d_input": 3, "n_classes": 2, "d_model": 8, "n_layers": 1},
    ],
    ids=lambda preset: preset["preset"] + ("" if "vocab_size" in preset else "_classifier"),
)
def test_presets_have_all_properties(preset):
    report = check_model(expand_preset(preset).build(), examples=3, max_length=5)
    assert report.ok, report
    language_model = "vocab_size" in preset
    assert (report["causality"].verdict == "holds") is language_model
    assert (report["rows that join"].verdict == "holds") is language_model


def test_where_a_predictor_decides_in_decoding_the_function_that_decodes_is_called():
    caller = choose_caller(expand_preset({"preset": "mixture_of_depths", **SMALL}).build())
    assert caller.forward(mask="mask") == "model.prefill(x, mask)[0]"


def test_a_module_steps():
    decoding = choose_caller(RunningMean()).decoding
    assert decoding.reading("x[:, a:b]") == ("y = model.step(x[:, a:b], cache, None)",)
    assert decoding.reading_padded() == ("y = model.step(x[:, a:b], cache, mask[:, a:b])",)
