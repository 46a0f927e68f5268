"""The training loop."""

import logging
import math
from contextlib import AbstractContextManager, nullcontext
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

import sma
from sma.modules import set_progress
from sma.training.config import TrainSpec
from sma.training.environment import derive_seed, find_device, seed_everything
from sma.training.evaluation import evaluate
from sma.training.interrupts import Interrupt, Terminated, interruptible, terminable
from sma.training.micro_batches import MicroBatches
from sma.training.run.checkpoints import load_checkpoint, save_best, save_checkpoint
from sma.training.run.errors import RunError
from sma.training.run.folder import Run
from sma.training.run.position import Position
from sma.training.run.records import Ending
from sma.training.tasks.running import ActivationCounts, check_fit, cross_entropy, run_batch
from sma.training.tasks.task import Task


class Observer:
    """Is notified of the progress of a run. This one only logs notices; that of the command shows all."""

    def on_start(self, trainer: "Trainer") -> None:
        """Before the first step, or the first after resuming."""

    def on_step(self, trainer: "Trainer", loss: float) -> None:
        """After a step."""

    def on_row(self, trainer: "Trainer", row: dict[str, Any]) -> None:
        """After a line of metrics.jsonl."""

    def on_notice(self, trainer: "Trainer", text: str) -> None:
        """Something that the user should know; said when it is found, also from a signal handler."""
        logging.getLogger("sma.training").warning("%s", text)


class Trainer:
    """Trains the model of a spec on a task.

    The same spec gives the same run: weights come from the seed, and all random numbers of a step (its
    data, its dropout) from the seed and the step. A resumed run therefore continues bit for bit.

    Args:
        spec: what to do.
        task: the data; as a rule `spec.task.build()`.
        observer: notified of progress.

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
        self._drawn = MicroBatches((), (), ())  # those of the step

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
        n_rows = run.rewind_metrics(self.position.step)
        if n_rows < self.position.n_rows:
            self._say(
                f"{run.path / 'metrics.jsonl'} lacks {self.position.n_rows - n_rows} of "
                f"{self.position.n_rows} lines up to step {self.position.step}, so that curves will have "
                "gaps; restore it from a copy if there is one"
            )
        self.position = self.position.at(n_rows=n_rows)
        if self.position.best_step is not None and not run.has_best:
            self._say(
                f"{run.best} is missing (the best weights were those of step {self.position.best_step}); the "
                "next validation writes it anew"
            )
            self.position = self.position.at(best_step=None, best_loss=None)

    def fit(self, run: Run) -> Ending:
        """Train until the steps or the time are used up, Ctrl-C or SIGTERM; leave a checkpoint in any case.

        Only one process at a time may train a run: hold `run.lock()` where there may be several.

        Raises:
            RunError: if the loss is not a number, or something cannot be written; what was saved stays.
        """
        self.model.train()
        self._clock = perf_counter() - self.position.elapsed
        if self.position.step == 0:
            self._save(run)  # what cannot be written fails now
        self.observer.on_start(self)
        self._announce(run)
        with interruptible(self._say) as interrupt:
            ending = self._train(run, interrupt)
        self._save(run)
        if ending == "terminated":
            return ending
        ended_between = ending == "time limit" and self.position.validated != self.position.step
        if self.position.best_step is None or ended_between:
            try:
                self._validate(run)
            except Terminated:
                return "terminated"
            self._save(run)
        return ending

    def _train(self, run: Run, interrupt: Interrupt) -> Ending:
        try:
            while True:
                if interrupt.requested != "terminated" and self._validation_is_due():
                    self._validate(run)
                    self._save(run)
                if (ending := self._ending(interrupt)) is not None:
                    return ending
                self._step(run)
        except Terminated:
            return "terminated"

    def _announce(self, run: Run) -> None:
        """Say what may be unexpected about the run that begins."""
        steps, warmup = self.spec.steps, self.spec.schedule.warmup
        ending = self._ending(Interrupt())
        if ending is not None:
            longer = "with more steps" if ending == "finished" else "with a higher time_limit"
            remedy = run.again if ending == "finished" else run.resume
            self._say(
                f"the run ended at step {self.position.step}, so nothing is left to train: its best weights "
                f"are tested and its report is written anew; to train {longer}: {remedy} --set "
                f"{'steps' if ending == 'finished' else 'time_limit'}=..."
            )
        elif steps is not None and warmup > steps:
            self._say(
                f"the warm-up is longer than the run (schedule.warmup={warmup}, steps={steps}), so that the "
                f"learning rate never reaches {self.spec.learning_rate:g}; set a lower schedule.warmup"
            )

    def _say(self, text: str) -> None:
        self.observer.on_notice(self, text)

    def _ending(self, interrupt: Interrupt) -> Ending | None:
        if self.spec.steps is not None and self.position.step >= self.spec.steps:
            return "finished"
        if self.spec.time_limit is not None and self.position.elapsed >= self.spec.time_limit:
            return "time limit"
        return interrupt.requested

    def _step(self, run: Run) -> None:
        planned = self._planned_progress()
        rate = self.spec.learning_rate * self.spec.schedule.factor(self.position.step, planned)
        set_progress(self.model, planned)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad()
        total = entropy = 0.0
        counts = ActivationCounts()
        auxiliary: dict[str, float] = {}
        for micro in range(self.spec.accumulation):
            loss, cross, recording = self._loss(micro)
            (loss / self.spec.accumulation).backward()  # type: ignore[no-untyped-call]
            total += float(loss.detach()) / self.spec.accumulation
            entropy += float(cross) / self.spec.accumulation
            self._logged = (self._logged[0] + self._drawn.batches[micro].n_elements, self._logged[1])
            if (self.position.step + 1) % self.spec.log_interval == 0:
                counts.add(recording)
                for name, value in recording.losses.items():
                    part = float(value.detach()) * self._drawn.element_weight(micro)
                    auxiliary[name] = auxiliary.get(name, 0.0) + part / self.spec.accumulation
        limit = self.spec.clip if self.spec.clip is not None else math.inf
        norm = float(torch.nn.utils.clip_grad_norm_(self.model.parameters(), limit))
        self._check_finite(run, total, norm, rate)
        self.optimizer.step()
        done = self.position.step + 1
        pending = (*self.position.pending, (total, entropy))
        self.position = self.position.at(step=done, pending=pending, elapsed=perf_counter() - self._clock)
        self.observer.on_step(self, total)
        if done % self.spec.log_interval == 0:
            self._log_training(run, norm, rate, counts.rates, auxiliary)

    def _loss(self, micro: int) -> tuple[Tensor, Tensor, sma.Recording]:
        """The loss of a micro-batch with the routers' losses, and the cross-entropy in it.

        Their means over the micro-batches of a step are those of one batch of all its rows: cross-entropy
        counts by the number of scored targets, the routers' losses by the number of real elements.
        """
        seeds = [derive_seed(self.spec.seed, self.position.step, i) for i in range(self.spec.accumulation)]
        if micro == 0:
            self._drawn = MicroBatches.draw(self.task, self.spec.batch_size, seeds)
        batch = self._drawn.batches[micro].to(next(self.model.parameters()))
        seed_everything(seeds[micro])
        with self._autocast():
            logits, recording = run_batch(self.model, batch)
        cross = cross_entropy(logits, batch.targets) * self._drawn.target_weight(micro)
        routers = sum(recording.losses.values(), torch.zeros_like(cross))
        return cross + routers * self._drawn.element_weight(micro), cross.detach(), recording

    def _autocast(self) -> AbstractContextManager[Any]:
        if self.spec.precision == "bfloat16":
            return torch.autocast(self.device.type, torch.bfloat16)
        return nullcontext()

    def _planned_progress(self) -> float:
        """The progress that schedules follow: by steps alone if their number is given: repeatable."""
        if self.spec.steps is not None:
            return self.position.step / self.spec.steps
        assert self.spec.time_limit is not None  # the spec checks it
        return self.position.elapsed / self.spec.time_limit

    def _check_finite(self, run: Run, loss: float, norm: float, rate: float) -> None:
        if math.isfinite(loss) and math.isfinite(norm):
            return
        what = f"the loss is {loss}" if not math.isfinite(loss) else f"the gradient's norm is {norm}"
        raise self._failure(run, f"{what} in step {self.position.step + 1} (learning rate {rate:.3g})")

    def _failure(self, run: Run, what: str) -> RunError:
        best = self.position.best_step
        kept = "" if best is None else f", the best ones (step {best}) in {run.best}"
        return RunError(
            f"{what}; the last good weights are kept in {run.last}{kept}; start again with a lower "
            f"learning_rate or clip: {run.again} --set learning_rate={self.spec.learning_rate / 3:.2g}"
        )

    def _log_training(
        self, run: Run, norm: float, rate: float, rates: dict[str, list[float]], auxiliary: dict[str, float]
    ) -> None:
        n_elements, since = self._logged
        losses = torch.tensor(self.position.pending, dtype=torch.float64).mean(0)
        row = {
            "step": self.position.step,
            "split": "training",
            "loss": float(losses[0]),
            "bits": float(losses[1]) / math.log(2) * self.task.targets_per_unit("training"),
            "auxiliary": auxiliary,
            "gradient_norm": norm,
            "learning_rate": rate,
            "activation": rates,
            "elements_per_second": n_elements / max(self.position.elapsed - since, 1e-9),
            "seconds": self.position.elapsed,
        }
        self._logged = (0, self.position.elapsed)
        self.position = self.position.at(pending=())
        self._log(run, row)

    def _validation_is_due(self) -> bool:
        step = self.position.step
        is_reached = step % self.spec.validation_interval == 0 or step == self.spec.steps
        return is_reached and step not in (0, self.position.validated)

    def _validate(self, run: Run) -> None:
        with terminable():
            result = evaluate(self.model, self.task, "validation", batch_size=self.spec.batch_size)
        step, best = self.position.step, self.position.best_loss
        if not math.isfinite(result.loss):
            raise self._failure(run, f"the validation loss is {result.loss} after step {step}")
        if best is None or result.loss < best:
            save_best(run, self.model)
            self.position = self.position.at(best_step=step, best_loss=result.loss)
        before = self.position.elapsed
        self.position = self.position.at(elapsed=perf_counter() - self._clock, validated=step)
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
        self._log(run, row)

    def _log(self, run: Run, row: dict[str, Any]) -> None:
        run.log(row)
        self.position = self.position.at(n_rows=self.position.n_rows + 1)
        self.observer.on_row(self, row)

    def _save(self, run: Run) -> None:
        save_checkpoint(run, self.spec, self.position, self.model, self.optimizer)
