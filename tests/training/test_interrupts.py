"""Ctrl-C and SIGTERM: what is said at once, and what a run leaves."""

import signal
from collections.abc import Callable
from typing import Any

import pytest

from sma.architectures import load_model
from sma.training import Observer, Run
from sma.training.interrupts import Terminated, interruptible, terminable
from sma.training.run.checkpoints import read_position
from sma.training.trainer import Trainer

Make = Callable[..., tuple[Trainer, Run]]
EXACT = ("step", "split", "loss", "bits", "gradient_norm", "learning_rate", "activation", "accuracy")


class SignalAt(Observer):
    """Sends a signal to this process when a step is done, and keeps what is said."""

    def __init__(self, number: signal.Signals, step: int) -> None:
        self.number, self.step = number, step
        self.said: list[tuple[int, str]] = []

    def on_step(self, trainer: Trainer, loss: float) -> None:
        if trainer.position.step == self.step:
            signal.raise_signal(self.number)
            assert self.said  # at once

    def on_notice(self, trainer: Trainer, text: str) -> None:
        self.said.append((trainer.position.step, text))


def exact_rows(run: Run) -> list[dict[str, Any]]:
    return [{key: row[key] for key in EXACT if key in row} for row in map(dict, run.metrics())]


def test_ctrl_c_says_at_once_what_happens_next(make: Make) -> None:
    trainer, run = make()
    trainer.observer = observer = SignalAt(signal.SIGINT, 2)
    assert trainer.fit(run) == "interrupted"
    assert observer.said == [(2, observer.said[0][1])]
    assert "stops after this step" in observer.said[0][1]
    assert "Press Ctrl-C again to stop at once" in observer.said[0][1]
    load_model(run.best)


@pytest.mark.parametrize("step", [1, 4, 5])
def test_sigterm_leaves_a_checkpoint_without_a_test(make: Make, step: int) -> None:
    """Also in a step that a validation is due after: the resumed run does it."""
    whole, whole_run = make()
    whole.fit(whole_run)
    trainer, run = make()
    trainer.observer = observer = SignalAt(signal.SIGTERM, step)
    assert trainer.fit(run) == "terminated"
    assert "leaves a checkpoint, without a test" in observer.said[0][1]
    assert read_position(run).step == step
    assert run.has_best == (step == 5)
    second = Trainer(trainer.spec, trainer.task)
    second.resume(run)
    assert second.fit(run) == "finished"
    assert exact_rows(run) == exact_rows(whole_run)


def test_sigterm_stops_a_validation(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, whole_run = make()
    whole.fit(whole_run)
    trainer, run = make()
    batches = trainer.task.evaluation_batches

    def terminated(split: Any, batch_size: int) -> Any:
        for batch in batches(split, batch_size):
            signal.raise_signal(signal.SIGTERM)
            yield batch
            raise AssertionError("the validation goes on")

    with monkeypatch.context() as patch:
        patch.setattr(trainer.task, "evaluation_batches", terminated)
        assert trainer.fit(run) == "terminated"
    assert trainer.model.training
    assert read_position(run).step == 4
    second = Trainer(trainer.spec, trainer.task)
    second.resume(run)
    second.fit(run)
    assert exact_rows(run) == exact_rows(whole_run)


def test_the_second_signal_stops_at_once() -> None:
    said: list[str] = []
    with interruptible(said.append) as interrupt:
        signal.raise_signal(signal.SIGTERM)
        assert interrupt.requested == "terminated"
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert len(said) == 1


def test_handlers_are_put_back() -> None:
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]
    with interruptible(print), pytest.raises(Terminated), terminable():
        signal.raise_signal(signal.SIGTERM)
    assert [signal.getsignal(number) for number in numbers] == before
