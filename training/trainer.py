"""The training loop."""

import hashlib
import math
import random
from contextlib import AbstractContextManager, nullcontext
from time import perf_counter
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

import sma
from sma.modules import set_progress
from sma.training.config import TrainSpec
from sma.training.evaluation import evaluate
from sma.training.interrupts import Interrupt, interruptible
from sma.training.run.checkpoints import Position, load_checkpoint, save_best, save_checkpoint
from sma.training.run.errors import RunError
from sma.training.run.folder import Run
from sma.training.tasks.running import check_fit, cross_entropy, first_line, run_batch
from sma.training.tasks.task import Task

Ending = Literal["finished", "time limit", "interrupted"]


class Observer:
    """What is told about a run as it goes on. This one ignores everything; the command shows it."""

    def on_start(self, trainer: "Trainer") -> None:
        """Before the first step, or the first after resuming."""

    def on_step(self, trainer: "Trainer", loss: float) -> None:
        """After a step."""

    def on_row(self, trainer: "Trainer", row: dict[str, Any]) -> None:
        """After a line of metrics.jsonl."""


class Trainer:
    """Trains the model of a spec on a task.

    The same spec gives the same run: weights come from the seed, and all random numbers of a step (its
    data, its dropout) from the seed and the step. A resumed run therefore goes on bit for bit.

    Args:
        spec: what to do.
        task: the data; as a rule `spec.task.build()`.
        observer: told about progress.

    Raises:
        ValueError: if the model does not fit the task, or the device does not exist.
    """

    def __init__(self, spec: TrainSpec, task: Task, *, observer: Observer | None = None) -> None:
        if spec.threads is not None:
            torch.set_num_threads(spec.threads)
        self.spec = spec
        self.task = task
        self.observer = observer if observer is not None else Observer()
        self.device = find_device(spec.device)
        seed_everything(spec.seed)
        self.model = spec.model.build()
        check_fit(self.model, task)
        self.model.activation_checkpointing = spec.activation_checkpointing
        self.model.to(self.device, torch.float64 if spec.precision == "float64" else torch.float32)
        self.optimizer = spec.optimizer.build(self.model.parameters(), spec.learning_rate)
        self.position = Position()
        self._clock = perf_counter()
        self._logged = (0, 0.0)  # elements and seconds since the last line

    @property
    def n_parameters(self) -> int:
        """How many numbers are trained."""
        return sum(parameter.numel() for parameter in self.model.parameters())

    @property
    def progress(self) -> float:
        """The share of the run that is done, by steps or by time."""
        steps, limit = self.spec.steps, self.spec.time_limit
        by_steps = self.position.step / steps if steps is not None else 0.0
        by_time = self.position.elapsed / limit if limit is not None else 0.0
        return min(max(by_steps, by_time), 1.0)

    def resume(self, run: Run) -> None:
        """Go back to the newest checkpoint of a run.

        Raises:
            RunError: if the checkpoint is missing or damaged.
            ValueError: if it belongs to another spec.
        """
        self.position = load_checkpoint(run, self.spec, self.model, self.optimizer)
        run.rewind_metrics(self.position.step)

    def fit(self, run: Run) -> Ending:
        """Train until the steps or the time are used up, or Ctrl-C; leave a checkpoint in any case.

        Raises:
            RunError: if the loss is no number, or something cannot be written; what was saved stays.
        """
        self.model.train()
        self._clock = perf_counter() - self.position.elapsed
        if self.position.step == 0:
            self._save(run)  # what cannot be written fails now
        self.observer.on_start(self)
        with interruptible() as interrupt:
            while (ending := self._ending(interrupt)) is None:
                self._step(run)
                if self._validation_is_due():
                    self._validate(run)
                    self._save(run)
        self._save(run)
        if self.position.best_step is None or ending == "time limit":
            self._validate(run)
            self._save(run)
        return ending

    def _ending(self, interrupt: Interrupt) -> Ending | None:
        if self.spec.steps is not None and self.position.step >= self.spec.steps:
            return "finished"
        if self.spec.time_limit is not None and self.position.elapsed >= self.spec.time_limit:
            return "time limit"
        return "interrupted" if interrupt.requested else None

    def _step(self, run: Run) -> None:
        planned = self._planned_progress()
        rate = self.spec.learning_rate * self.spec.schedule.factor(self.position.step, planned)
        set_progress(self.model, planned)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad()
        total = entropy = 0.0
        for micro in range(self.spec.accumulation):
            loss, cross, recording, n = self._loss(micro)
            (loss / self.spec.accumulation).backward()  # type: ignore[no-untyped-call]
            total += float(loss.detach()) / self.spec.accumulation
            entropy += float(cross) / self.spec.accumulation
            self._logged = (self._logged[0] + n, self._logged[1])
        limit = self.spec.clip if self.spec.clip is not None else math.inf
        norm = float(torch.nn.utils.clip_grad_norm_(self.model.parameters(), limit))
        self._check_finite(run, total, norm, rate)
        self.optimizer.step()
        done = self.position.step + 1
        pending = (*self.position.pending, (total, entropy))
        self.position = self.position.at(step=done, pending=pending, elapsed=perf_counter() - self._clock)
        self.observer.on_step(self, total)
        if done % self.spec.log_interval == 0:
            self._log_training(run, norm, rate, recording)

    def _loss(self, micro: int) -> tuple[Tensor, Tensor, sma.Recording, int]:
        """The loss with the routers' losses, the cross-entropy in it, and the number of elements."""
        seed = derive_seed(self.spec.seed, self.position.step, micro)
        generator = torch.Generator().manual_seed(seed)
        batch = self.task.training_batch(self.spec.batch_size, generator).to(next(self.model.parameters()))
        seed_everything(seed)
        with self._autocast():
            logits, recording = run_batch(self.model, batch)
        cross = cross_entropy(logits, batch.targets)
        total = cross + sum(recording.losses.values(), torch.zeros_like(cross))
        return total, cross.detach(), recording, batch.n_elements

    def _autocast(self) -> AbstractContextManager[Any]:
        if self.spec.precision == "bfloat16":
            return torch.autocast(self.device.type, torch.bfloat16)
        return nullcontext()

    def _planned_progress(self) -> float:
        """What schedules follow: where there is a number of steps it alone, so that runs can be repeated."""
        if self.spec.steps is not None:
            return self.position.step / self.spec.steps
        assert self.spec.time_limit is not None  # the spec checks it
        return self.position.elapsed / self.spec.time_limit

    def _check_finite(self, run: Run, loss: float, norm: float, rate: float) -> None:
        if math.isfinite(loss) and math.isfinite(norm):
            return
        what = f"the loss is {loss}" if not math.isfinite(loss) else f"the gradient's norm is {norm}"
        best = self.position.best_step
        kept = "" if best is None else f", the best ones (step {best}) in {run.best}"
        raise RunError(
            f"{what} in step {self.position.step + 1} (learning rate {rate:.3g}); the last good weights are "
            f"kept in {run.last}{kept}; start again with a lower learning_rate or clip: sma train --spec "
            f"{run.path / 'spec.yaml'} --set learning_rate={self.spec.learning_rate / 3:.2g}"
        )

    def _log_training(self, run: Run, norm: float, rate: float, recording: sma.Recording) -> None:
        n_elements, since = self._logged
        losses = torch.tensor(self.position.pending, dtype=torch.float64).mean(0)
        row = {
            "step": self.position.step,
            "split": "training",
            "loss": float(losses[0]),
            "bits": float(losses[1]) / math.log(2),
            "auxiliary": {name: float(loss.detach()) for name, loss in recording.losses.items()},
            "gradient_norm": norm,
            "learning_rate": rate,
            "activation": recording.activation_rates,
            "elements_per_second": n_elements / max(self.position.elapsed - since, 1e-9),
            "seconds": self.position.elapsed,
        }
        self._logged = (0, self.position.elapsed)
        self.position = self.position.at(pending=())
        run.log(row)
        self.observer.on_row(self, row)

    def _validation_is_due(self) -> bool:
        step = self.position.step
        return step % self.spec.validation_interval == 0 or step == self.spec.steps

    def _validate(self, run: Run) -> None:
        result = evaluate(self.model, self.task, "validation", batch_size=self.spec.batch_size)
        step, best = self.position.step, self.position.best_loss
        if best is None or result.loss < best:
            save_best(run, self.model)
            self.position = self.position.at(best_step=step, best_loss=result.loss)
        before = self.position.elapsed
        self.position = self.position.at(elapsed=perf_counter() - self._clock)
        self._logged = (self._logged[0], self._logged[1] + self.position.elapsed - before)
        row = {
            "step": step,
            "split": "validation",
            "loss": result.loss,
            "bits": result.bits,
            "accuracy": result.accuracy,
            "activation": result.activation_rates,
            "seconds": self.position.elapsed,
        }
        run.log(row)
        self.observer.on_row(self, row)

    def _save(self, run: Run) -> None:
        save_checkpoint(run, self.spec, self.position, self.model, self.optimizer)


def derive_seed(*numbers: int) -> int:
    """A seed in [0, 2**63) that depends on all of some numbers, and is unrelated for different ones."""
    digest = hashlib.sha256(" ".join(map(str, numbers)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def seed_everything(seed: int) -> None:
    """Seed the global random number generators of torch, numpy and Python."""
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002  (what a plug-in may use)


def find_device(name: str) -> torch.device:
    """The device of that name; `auto` is a GPU if there is one.

    Raises:
        ValueError: if there is no such device here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(name)
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(
            f"device={name!r} does not work here ({first_line(error)}); use device=cpu"
        ) from error
    return device
