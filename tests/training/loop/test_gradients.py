"""The gradient of a step is a function of its number, and operations are counted where they can be."""

from collections.abc import Callable

import torch
from torch import Tensor

from sma.training import Run
from sma.training.trainer import Trainer

Make = Callable[..., tuple[Trainer, Run]]


def gradient(trainer: Trainer, step: int) -> list[Tensor]:
    trainer.model.train()  # with dropout
    trainer.optimizer.zero_grad()
    trainer.gradients.of_step(trainer.call, step, detailed=False)
    return [parameter.grad for parameter in trainer.model.parameters() if parameter.grad is not None]


def test_the_number_of_a_step_decides_on_its_data_and_its_dropout(make: Make) -> None:
    trainer, _ = make(accumulation=2)
    first = gradient(trainer, 5)
    other = gradient(trainer, 6)
    torch.manual_seed(99)
    again = gradient(trainer, 5)
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(first, again, strict=True))
    assert not all(torch.equal(mine, theirs) for mine, theirs in zip(first, other, strict=True))


def test_a_step_sums_up_its_micro_batches(make: Make) -> None:
    trainer, _ = make(accumulation=3, batch_size=2)
    totals = trainer.gradients.of_step(trainer.call, 0, detailed=True)
    drawn = trainer.gradients.draw(0)
    losses = [trainer.gradients.loss(trainer.call, drawn, 0, index) for index in range(3)]
    assert totals.n_real == totals.n_elements == 3 * 2 * 16
    assert totals.operations > 0
    torch.testing.assert_close(
        torch.tensor(totals.loss), torch.stack([micro.loss.detach() for micro in losses]).mean()
    )
