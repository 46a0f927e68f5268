"""The report's table of activations against known needs."""

import re

import pytest
import torch

from sma.training import TrainSpec
from sma.training.tasks.needs_section import Agreement, needs_section
from sma.training.tasks.recall import AssociativeRecallSpec
from sma.training.tasks.running import run_batch


def test_agreement_counts() -> None:
    needs = torch.tensor([True, True, False, False])
    found = Agreement.of("layer", torch.tensor([True, False, True, True]), needs)
    assert (found.rate, found.recall, found.random_precision, found.random_recall) == (0.75, 0.5, 0.5, 0.75)
    assert found.precision == pytest.approx(1 / 3)
    nothing = Agreement.of("layer", needs & False, needs & False, random_recall=0.9)
    assert (nothing.precision, nothing.recall, nothing.random_recall) == (None, None, 0.9)


def test_the_table_has_a_row_per_module() -> None:
    task = AssociativeRecallSpec(length=12, vocab_size=9, n_pairs=2, n_queries=2, n_evaluation=6).build()
    model = {"preset": "seqboat", "vocab_size": 9, "d_model": 8, "n_layers": 2, "d_qk": 4, "d_state": 2}
    spec = TrainSpec.model_validate({"task": "digits", "model": model, "steps": 1}).model
    torch.manual_seed(0)
    built = spec.build().eval()
    section = needs_section(task, built)
    rows = re.findall(r"<tr><td>(.*?)</td>" + 3 * '<td class="number">(.*?)</td>' + "</tr>", section.body)
    assert [row[0] for row in rows] == ["layer 1, GAU", "layer 2, GAU"]
    (batch,) = task.evaluation_batches("test", 6)
    assert batch.needs is not None
    _, recording = run_batch(built, batch)
    for (_, rate, precision, recall), layer in zip(rows, recording.layers, strict=True):
        active = layer.routing.active[..., 0]
        both = (active & batch.needs).sum()
        assert rate == f"{active.float().mean():.1%}"
        assert precision == f"{both / active.sum():.1%}"
        assert recall == f"{both / batch.needs.sum():.1%}"
    assert section.body.startswith(f"<p>{batch.needs.float().mean():.1%} of the elements are needed")
