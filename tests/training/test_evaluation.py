"""Evaluation against a byte-by-byte computation."""

import math
from collections.abc import Callable

import pytest
import torch

import sma
from sma.training import Run, evaluate
from sma.training.trainer import Trainer

Make = Callable[..., tuple[Trainer, Run]]


def test_bits_and_accuracy_byte_by_byte(make: Make) -> None:
    trainer, _ = make()
    task, model = trainer.task, trainer.model.eval()
    nats, hits, count, active = 0.0, 0, 0, 0
    stream = task.tokens["test"].tolist()
    for start in range(0, len(stream) - 1, 64):
        row = stream[start : start + 65]
        with torch.no_grad(), sma.record() as recording:
            scores = model(torch.tensor([row[:-1]]))[0]
        active += int(recording.layers[0].routing.active.sum())
        for place, byte in enumerate(row[1:]):
            nats -= float(scores[place].log_softmax(0)[byte])
            hits += int(scores[place].argmax()) == byte
            count += 1
    found = evaluate(model, task, "test", batch_size=8)
    assert found.n_targets == count == len(stream) - 1
    assert found.bits == pytest.approx(nats / count / math.log(2), rel=1e-5)
    assert found.accuracy == pytest.approx(hits / count)
    assert found.activation_rates["blocks.0.branches.1"] == [pytest.approx(active / count)]


def test_the_batch_size_does_not_matter(make: Make) -> None:
    trainer, _ = make()
    losses = [evaluate(trainer.model, trainer.task, "test", batch_size=size).loss for size in (1, 5, 1000)]
    assert losses == pytest.approx([losses[0]] * 3, rel=1e-5)


def test_training_is_not_disturbed(make: Make) -> None:
    trainer, _ = make()
    trainer.model.train()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    evaluate(trainer.model, trainer.task, "validation", batch_size=2)
    assert torch.equal(torch.rand(3), expected)
    assert trainer.model.training
