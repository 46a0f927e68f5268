"""Runs that start from the weights of others."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from sma.architectures import load_model, parse_spec, save_model, seqboat
from sma.training import Run, TrainSpec, resume, train
from sma.training.config import WeightsSource
from sma.training.trainer import Trainer
from sma.training.weights import start_from

Make = Callable[..., tuple[Trainer, Run]]
SIZES: dict[str, Any] = {"d_model": 8, "n_layers": 1, "d_qk": 4, "d_state": 2, "window": 4}


def small(**options: Any) -> Any:
    return seqboat(**{**SIZES, "vocab_size": 11, **options}).build()


def test_a_run_starts_from_another(make: Make) -> None:
    first, run = make(steps=2)
    first.fit(run)
    second, second_run = make(weights=str(run.path), seed=5)
    best = load_model(run.best).state_dict()
    assert all(torch.equal(tensor, best[name]) for name, tensor in second.model.state_dict().items())
    second.fit(second_run)
    assert second_run.spec().weights == WeightsSource(path=str(run.path))


def test_a_run_that_goes_on_needs_the_weights_no_longer(make: Make, tmp_path: Path) -> None:
    trainer, _ = make()
    save_model(trainer.model, tmp_path / "start")  # type: ignore[arg-type]
    spec = TrainSpec.model_validate({**trainer.spec.model_dump(), "weights": str(tmp_path / "start")})
    run, _ = train(spec, root=tmp_path / "mine")
    for path in (tmp_path / "start").iterdir():
        path.unlink()
    longer = TrainSpec.model_validate({**spec.model_dump(), "steps": 8})
    assert resume(run, longer) == "finished"
    with pytest.raises(ValueError, match=r"start holds no spec.json with model.safetensors; name the folder"):
        train(spec, root=tmp_path / "mine")
    assert len(list((tmp_path / "mine").iterdir())) == 1  # no folder was made


def test_a_new_head(tmp_path: Path) -> None:
    save_model(small(), tmp_path / "model")
    model = seqboat(**SIZES, vocab_size=11, n_classes=3).build()
    values = small().spec.model_dump(mode="json") | {"head": model.spec.head.model_dump(mode="json")}
    other = parse_spec(values).build()
    before = {name: tensor.clone() for name, tensor in other.state_dict().items()}
    message = r"belong to another model: head\..* \(missing there, \(.*\) here\).*weights.new=\[head\]"
    with pytest.raises(ValueError, match=message):
        start_from(other, WeightsSource(path=str(tmp_path / "model")))
    assert all(torch.equal(tensor, before[name]) for name, tensor in other.state_dict().items())
    start_from(other, WeightsSource(path=str(tmp_path / "model"), new=("head",)))
    found = load_model(tmp_path / "model").state_dict()
    for name, tensor in other.state_dict().items():
        source = before if name.startswith("head") else found
        assert torch.equal(tensor, source[name]), name


def test_parts_of_the_file_may_be_left_out(tmp_path: Path) -> None:
    save_model(small(n_layers=2), tmp_path / "model")
    model = small()
    with pytest.raises(ValueError, match=r"belong to another model: blocks.1.* here\)"):
        start_from(model, WeightsSource(path=str(tmp_path / "model")))
    start_from(model, WeightsSource(path=str(tmp_path / "model"), new=("blocks.1",)))
    found = load_model(tmp_path / "model").state_dict()
    assert all(torch.equal(tensor, found[name]) for name, tensor in model.state_dict().items())


def test_wrong_sources(make: Make, tmp_path: Path) -> None:
    model = small()
    save_model(model, tmp_path / "model")
    for source, message in (
        ({"path": str(tmp_path / "none")}, r"weights: .*none holds no spec.json with model.safetensors"),
        ({"path": str(tmp_path / "model"), "new": ("heat",)}, r"names 'heat', which is no part of the model"),
        ({"path": str(tmp_path / "model"), "new": ("hea",)}, r"names 'hea', which is no part of the model"),
        ({"path": str(make()[1].path)}, r"the run .* has no best model yet; train it until its first"),
    ):
        with pytest.raises(ValueError, match=message) as error:
            start_from(model, WeightsSource(**source))
        assert "\n" not in str(error.value)
    (tmp_path / "model" / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(ValueError, match=r"^weights: .* is truncated .*; name another folder"):
        start_from(model, WeightsSource(path=str(tmp_path / "model")))
