"""Sharded models with averages of weights, scaled gradients and mixed precision."""

from pathlib import Path

import pytest
from same_runs import check, train
from shared_training import fit, spec_of

from sma.architectures import load_model
from sma.training import Run
from sma.training.parallel.sharded import FSDPSpec
from sma.training.parallel.torchrun import Place


def losses(root: Path, name: str) -> list[float]:
    return [row["loss"] for row in Run.open(root / name).metrics()]


def test_averages_and_half_precision_are_those_of_one_process(tmp_path: Path) -> None:
    names = ["averaged:sma_all", "scaled:sma_all"]
    train(tmp_path, 2, [*names, "mixed:sma_all"])
    check(tmp_path, 2, names)
    row = Run.open(tmp_path / "scaled-sma_all").metrics()[0]
    assert row["loss_scale"] == 2.0**16  # type: ignore[typeddict-item]
    one = fit(spec_of("sma_all", 2, precision="float32"), tmp_path, "one").validated_model
    assert losses(tmp_path, "mixed-sma_all") == pytest.approx(losses(tmp_path, "one"), rel=3e-2)
    pairs = zip(losses(tmp_path, "mixed-sma_all"), losses(tmp_path, "one"), strict=True)
    assert all(abs(ours - theirs) > 1e-6 for ours, theirs in pairs)  # it did compute in bfloat16
    kept = load_model(tmp_path / "mixed-sma_all" / "best").state_dict()
    assert {tensor.dtype for tensor in kept.values()} == {
        tensor.dtype for tensor in one.state_dict().values()
    }


def test_compilation_is_refused() -> None:
    shards = FSDPSpec().build(Place(0, 2, 0, 0))
    shards.check(compiled=False)
    with pytest.raises(ValueError, match="compile does not go with parallel fsdp; set compile=false, or use"):
        shards.check(compiled=True)
