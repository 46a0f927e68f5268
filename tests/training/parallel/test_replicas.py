"""Several processes compute what one does, for all kinds of models, however they share them."""

import json
from pathlib import Path

import pytest
from same_runs import compare
from shared_training import MODELS

QUICK = ["ddp:seqboat", "compiled:seqboat", "fsdp:mixture_of_depths", "fsdp:mixtral_like"]


def test_two_processes_compute_what_one_does(tmp_path: Path) -> None:
    compare(tmp_path, 2, QUICK)
    for rank in range(2):  # of the compiled steps, with budgets and activations of unlike number
        graphs, breaks = json.loads((tmp_path / f"graphs-{rank}.json").read_text())
        assert (graphs, breaks) == (1, [])


@pytest.mark.slow
@pytest.mark.parametrize("world", [2, 3])
def test_processes_compute_what_one_does(tmp_path: Path, world: int) -> None:
    compare(tmp_path, world, [f"{kind}:{model}" for model in MODELS for kind in ("ddp", "fsdp")])
