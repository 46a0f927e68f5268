"""Several processes compute what one does, for all kinds of models, however they share them."""

from pathlib import Path
from typing import Any

import pytest
import torch
from shared_training import MODELS, fit, processes, spec_of

from sma.architectures import load_model
from sma.training import Run

CLOSE = {"rel": 1e-6, "abs": 1e-10}
QUICK = ["ddp:seqboat", "fsdp:mixture_of_depths"]


def rows(run: Run) -> list[dict[str, Any]]:
    leave_out = {"seconds", "elements_per_second"}
    return [{key: value for key, value in row.items() if key not in leave_out} for row in run.metrics()]


def compare(root: Path, world: int, kinds: list[str]) -> None:
    """Every line of the metrics, and the best weights, with those of one process."""
    done = processes(world, str(root), *kinds)
    assert [code for code, _, _ in done] == [0] * world, "\n".join(errors for _, _, errors in done)
    for model in sorted({name.split(":")[1] for name in kinds}):
        one = root / f"one-{model}"
        fit(spec_of(model, world), root, one.name)
        for kind in [name.split(":")[0] for name in kinds if name.endswith(f":{model}")]:
            ours, theirs = rows(Run.open(root / f"{kind}-{model}")), rows(Run.open(one))
            assert len(ours) == len(theirs) == 6
            for mine, expected in zip(ours, theirs, strict=True):
                flat, wanted = flattened(mine), flattened(expected)
                assert flat.keys() == wanted.keys()
                for key, value in wanted.items():
                    said = value if isinstance(value, str) else pytest.approx(value, **CLOSE)
                    assert flat[key] == said, f"{kind} {model} {mine['step']} {key}"
            weights = load_model(root / f"{kind}-{model}" / "best").state_dict()
            for name, expected in load_model(one / "best").state_dict().items():
                torch.testing.assert_close(weights[name], expected, rtol=1e-6, atol=1e-8, msg=name)


def flattened(values: Any, path: str = "") -> dict[str, Any]:
    if isinstance(values, dict | list):
        items = values.items() if isinstance(values, dict) else enumerate(values)
        return {k: v for key, value in items for k, v in flattened(value, f"{path}.{key}").items()}
    return {path: values}


def test_two_processes_compute_what_one_does(tmp_path: Path) -> None:
    compare(tmp_path, 2, QUICK)


@pytest.mark.slow
@pytest.mark.parametrize("world", [2, 3])
def test_processes_compute_what_one_does(tmp_path: Path, world: int) -> None:
    compare(tmp_path, world, [f"{kind}:{model}" for model in MODELS for kind in ("ddp", "fsdp")])
