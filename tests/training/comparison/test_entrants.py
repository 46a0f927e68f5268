"""The models of a comparison, from what names them."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from sma.architectures import transformer
from sma.training.comparison.entrants import read_entrants
from sma.training.presets import run_values


def test_presets_have_the_sizes_and_ends_of_the_ready_run() -> None:
    ready, boat, plain = read_entrants(
        ["ready", "preset:seqboat", "preset:ssm_only,d_model=32"], "digits", []
    )
    model = ready.fields["model"]
    assert [ready.name, boat.name, plain.name] == ["ready", "seqboat", "ssm_only-d_model-32"]
    for other in (boat, plain):
        assert other.fields["model"]["embedding"] == model["embedding"]
        assert other.fields["model"]["head"] == model["head"]
        assert other.fields["model"]["blocks"][0]["repeat"] == 4
        assert other.fields["model"]["blocks"][0]["mixer"] == model["blocks"][0]["mixer"]
        assert other.fields["model"]["blocks"][0]["norm"] == model["blocks"][0]["norm"]
        assert {**other.fields, "model": 0} == {**ready.fields, "model": 0}
    assert boat.fields["model"]["blocks"][0]["branches"] == model["blocks"][0]["branches"]
    assert (model["d_model"], plain.fields["model"]["d_model"]) == (64, 32)


@pytest.mark.parametrize(
    "preset", ["mega_chunk", "transformer", "local_attention", "mixture_of_depths", "gau_always"]
)
@pytest.mark.parametrize("task", ["python_source", "listops"])
def test_presets_fit_the_task(preset: str, task: str) -> None:
    (found,) = read_entrants([f"preset:{preset}"], task, [])
    assert found.spec().model.head.kind == ("classifier" if task == "listops" else "language_model")


def test_names_and_settings_of_one_model(tmp_path: Path) -> None:
    path = tmp_path / "A.yaml"
    path.write_text(yaml.safe_dump({**run_values("digits"), "learning_rate": 0.1}))
    settings = ["batch_size=4", "slow:learning_rate=0.01", "model.d_model=16"]
    found = read_entrants([str(path), "slow=ready", "ready", str(path)], None, settings)
    assert [entrant.name for entrant in found] == ["A", "slow", "ready", "A-2"]
    assert [entrant.fields["learning_rate"] for entrant in found] == [0.1, 0.01, 0.005, 0.1]
    assert {entrant.fields["batch_size"] for entrant in found} == {4}
    assert {entrant.fields["model"]["d_model"] for entrant in found} == {16}


def test_specs_and_mappings_are_named_by_their_keys() -> None:
    spec = transformer(vocab_size=256, d_model=16, n_layers=1, n_heads=2)
    values: dict[str, Any] = {"preset": "ssm_only", "d_model": 16, "n_layers": 1}
    found = read_entrants({"dense": spec, "plain": values}, "python_source", [])
    assert [entrant.name for entrant in found] == ["dense", "plain"]
    assert found[0].spec().model == spec
    assert found[1].spec().model.embedding.vocab_size == 256


@pytest.mark.parametrize(
    ("sources", "task", "settings", "told"),
    [
        ([], None, [], "needs at least one spec"),
        (["nowhere.yaml"], None, [], "spec 'nowhere.yaml' is not a file"),
        (["redy"], None, [], "did you mean ready"),
        (["preset:seqbot"], None, [], "no preset 'seqbot'; did you mean seqboat"),
        (["preset:seqboat,window"], None, [], "preset option 'window' has no value"),
        (["preset:seqboat,windw=3"], None, [], "has no option 'windw'; did you mean window"),
        (["ready"], "lra_text", [], "task=lra_text has no ready run"),
        (["ready"], "digits", ["redy:steps=3"], "there is no model 'redy'; did you mean ready"),
        (["a=ready", "b=ready"], "digits", ["b:batch_size=3"], "b: batch_size=3 is not that of a"),
        (["ready"], "digits", ["model.d_modl=3"], "ready: model: unknown field 'd_modl'"),
    ],
)
def test_wrong_arguments_are_told_in_one_line(
    sources: list[str], task: str | None, settings: list[str], told: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(told)) as caught:
        read_entrants(sources, task, settings)
    assert "\n" not in str(caught.value)


def test_a_run_of_another_task_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "A.yaml"
    path.write_text(yaml.safe_dump(run_values("digits")))
    with pytest.raises(ValueError, match=r"A: task\.kind=digits is not the comparison's listops"):
        read_entrants([path], "listops", [])
