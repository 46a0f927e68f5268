"""Controls of routed models: what they keep, what they cost, and that they can be built."""

from typing import Any

import pytest
import torch

import sma
from sma.architectures import mixture_of_depths, seqboat, seqboat_full, sma_all, ssm_only, transformer
from sma.architectures.files.yaml import parse_spec
from sma.training.comparison import controls
from sma.training.comparison.parts import dumped, of_kind
from sma.training.report.operations import OperationCount
from sma.training.tasks.task import Batch

SIZES: dict[str, Any] = {"vocab_size": 11, "d_model": 8, "n_layers": 2}
SEQBOAT = seqboat(**SIZES, d_qk=4, d_hidden=8, d_state=2, window=3)
ROUTED = {
    "seqboat": SEQBOAT,
    "sma_all": sma_all(**SIZES, d_state=2, window=3),
    "mixture_of_depths": mixture_of_depths(**SIZES, n_heads=2, max_positions=16),
}


def recording_of(values: dict[str, Any]) -> sma.Recording:
    torch.manual_seed(0)
    model = parse_spec(values).build()
    with sma.record(model) as recording, torch.no_grad():
        model(torch.randint(11, (2, 400)))
    return recording


@pytest.mark.parametrize("name", ROUTED)
def test_always_and_never(name: str) -> None:
    model = dumped(ROUTED[name])
    before = dumped(ROUTED[name])
    always = recording_of(controls.always(model))
    assert {rate for layer in always.activation_rates.values() for rate in layer} == {1.0}
    never = recording_of(controls.never(model))
    assert not any(rate for layer in never.activation_rates.values() for rate in layer)
    assert model == before


def test_never_leaves_out_branches_that_are_routed() -> None:
    spec = ssm_only(**SIZES, d_state=2)
    found, expected = parse_spec(controls.never(dumped(SEQBOAT))).build(), spec.build()
    assert {n: p.shape for n, p in found.named_parameters()} == {
        n: p.shape for n, p in expected.named_parameters()
    }


@pytest.mark.parametrize("name", ["seqboat", "sma_all"])
def test_the_window_alone_mixes_elements(name: str) -> None:
    model = controls.window(dumped(ROUTED[name]))
    built = parse_spec(model).build().double().eval()
    tokens = torch.randint(11, (1, 40))
    other = tokens.clone()
    other[0, 5] = (other[0, 5] + 1) % 11
    with torch.no_grad():
        changed = (built(tokens) - built(other)).abs().amax(-1)[0] > 0
    assert changed.nonzero().flatten().tolist() == list(range(5, 5 + 2 * 3 + 1))  # two layers of window 3


def test_attention_without_a_window_gets_one() -> None:
    spec = seqboat_full(**SIZES, d_qk=4, d_state=2)
    (gau,) = {module["window"] for module in of_kind(controls.window(dumped(spec)), "gau")}
    assert gau == controls.WINDOW


def test_random_has_each_layers_rate_and_own_decisions() -> None:
    values = controls.at_random(dumped(SEQBOAT), [0.2, 0.6], seed=3)
    recording = recording_of(values)
    (first,), (second,) = recording.activation_rates.values()
    assert (first, second) == (pytest.approx(0.2, abs=0.06), pytest.approx(0.6, abs=0.06))
    assert controls.at_random(dumped(SEQBOAT), [0.2, 0.6], seed=4) != values
    with pytest.raises(ValueError, match="3 measured rates for 2 routed layers"):
        controls.at_random(dumped(SEQBOAT), [0.1, 0.1, 0.1], seed=0)


def test_names_of_layers_are_those_of_the_recording() -> None:
    assert controls.routed_names(dumped(SEQBOAT)) == list(recording_of(dumped(SEQBOAT)).activation_rates)


def count(values: dict[str, Any], lengths: list[int]) -> float:
    return OperationCount(parse_spec(values).build()).fixed(lengths) / sum(lengths)


@pytest.mark.parametrize("target", [1.0, 3.0, 10.0])
def test_wider_is_the_width_with_the_nearest_cost(target: float) -> None:
    lengths = [30, 7]
    plain = controls.never(dumped(SEQBOAT))
    wanted = target * count(plain, lengths)
    found = controls.wider(dumped(SEQBOAT), wanted, lengths)
    slow = min(range(2, 80, 2), key=lambda width: abs(count({**plain, "d_model": width}, lengths) - wanted))
    assert found == {**plain, "d_model": slow}


def test_wider_keeps_heads_whole() -> None:
    spec = mixture_of_depths(vocab_size=11, d_model=12, n_layers=2, n_heads=3, max_positions=16)
    found = controls.wider(dumped(spec), 1.7 * count(controls.never(dumped(spec)), [20]), [20])
    assert found["d_model"] > 12
    assert found["d_model"] % 6 == 0
    assert recording_of(found)


def test_what_cannot_be_controlled_is_said() -> None:
    with pytest.raises(ValueError, match="controls: plain has no layer with a learned router"):
        controls.check_routed("plain", dumped(transformer(**SIZES, n_heads=2)))
    with pytest.raises(ValueError, match="has no layer with a learned router"):
        controls.check_routed("always", controls.always(dumped(SEQBOAT)))
    with pytest.raises(ValueError, match="window needs routed attention"):
        controls.window(dumped(mixture_of_depths(**SIZES, n_heads=2, max_positions=16)) | {"blocks": []})
    with pytest.raises(ValueError, match="finds no width up to 64 times d_model=8"):
        controls.wider(dumped(SEQBOAT), 1e12, [10])


def test_operations_of_the_control_are_those_of_its_call() -> None:
    values = controls.wider(dumped(SEQBOAT), 5000, [10])
    tokens = torch.zeros(1, 10, dtype=torch.long)
    recording = recording_of(values)
    assert recording.layers == []
    model = parse_spec(values).build()
    assert OperationCount(model).of(Batch(tokens, tokens), recording) == pytest.approx(
        10 * controls.per_element(values, [10]), abs=1
    )
