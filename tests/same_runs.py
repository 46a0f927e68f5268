"""Comparing the runs of several processes with that of one."""

from pathlib import Path
from typing import Any

import pytest
import torch
from shared_training import WAYS, fit, processes, spec_of

from sma.architectures import load_model
from sma.training import Run

CLOSE = {"rel": 1e-6, "abs": 1e-10}
ROUGH = {"rel": 3e-2, "abs": 3e-4}
"""In half precision."""


def rows(run: Run) -> list[dict[str, Any]]:
    leave_out = {"seconds", "elements_per_second"}
    return [{key: value for key, value in row.items() if key not in leave_out} for row in run.metrics()]


def train(root: Path, world: int, names: list[str]) -> None:
    """Train in several processes; names are `WAY:MODEL`."""
    done = processes(world, str(root), *names)
    assert [code for code, _, _ in done] == [0] * world, "\n".join(errors for _, _, errors in done)


def compare(root: Path, world: int, names: list[str]) -> None:
    """Train in several processes, and compare as `check` does."""
    train(root, world, names)
    check(root, world, names)


def check(root: Path, world: int, names: list[str]) -> None:
    """Every line of the metrics, and the best weights, against those of one process."""
    for name in names:
        way, model = name.split(":")
        fields = {key: WAYS[way][key] for key in ("average", "precision") if key in WAYS[way]}
        one = root / "-".join(["one", model, *map(str, fields.values())])
        if not one.exists():
            fit(spec_of(model, world, **fields), root, one.name)
        close = CLOSE if "precision" not in fields else ROUGH
        same(Run.open(root / f"{way}-{model}"), Run.open(one), close)


def same(run: Run, one: Run, close: dict[str, float]) -> None:
    ours, theirs = rows(run), rows(one)
    assert len(ours) == len(theirs) == 6
    for mine, expected in zip(ours, theirs, strict=True):
        flat, wanted = flattened(mine), flattened(expected)
        assert flat.keys() == wanted.keys()
        for key, value in wanted.items():
            said = value if isinstance(value, str) else pytest.approx(value, **close)
            assert flat[key] == said, f"{run.path.name} {mine['step']} {key}"
    weights = load_model(run.best).state_dict()
    for name, expected in load_model(one.best).state_dict().items():
        pair = weights[name].double(), expected.double()
        torch.testing.assert_close(*pair, rtol=close["rel"], atol=100 * close["abs"], msg=name)


def flattened(values: Any, path: str = "") -> dict[str, Any]:
    if isinstance(values, dict | list):
        items = values.items() if isinstance(values, dict) else enumerate(values)
        return {k: v for key, value in items for k, v in flattened(value, f"{path}.{key}").items()}
    return {path: values}
