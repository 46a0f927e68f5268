"""The training loop."""

import logging
import math
from time import perf_counter
from typing import Any

import torch
from torch import nn
from typing_extensions import override

import sma
from sma.compilation import graph_breaks
from sma.modules import set_progress
from sma.training.config import TrainSpec
from sma.training.environment import seed_everything
from sma.training.evaluation import evaluate
from sma.training.interrupts import Interrupt, Terminated, interruptible
from sma.training.loggers.logger import running, scalars
from sma.training.loop.gradients import Gradients
from sma.training.loop.lines import Lines
from sma.training.loop.step import Totals, clip_gradient
from sma.training.optimization.averaging import averaged
from sma.training.optimization.precision import Precision
from sma.training.parallel.contract import OneProcess, Parallel
from sma.training.run import limits, notices
from sma.training.run.background import Background
from sma.training.run.checkpoints import load_checkpoint, save_best, save_checkpoint
from sma.training.run.folder import Run
from sma.training.run.position import Position
from sma.training.run.records import Ending
from sma.training.tasks.running import check_fit
from sma.training.tasks.task import Task
from sma.training.weights import start_from

COMPILER: dict[str, Any] = {"options": {"fallback_random": True}}
"""Of `torch.compile`: dropout draws the numbers that it draws without compilation."""


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


class _Silent(Observer):
    """What hears of a run in the processes that do not print."""

    @override
    def on_notice(self, trainer: "Trainer", text: str) -> None:
        pass


class Trainer:
    """Trains the model of a spec on a task.

    The same spec gives the same run: weights come from the seed, and all random numbers of a step (its
    data, its dropout) from the seed and the step. A resumed run therefore continues bit for bit.

    Args:
        spec: what to do.
        task: the data; as a rule `spec.task.build()`.
        observer: notified of progress.
        from_weights: whether to start from `spec.weights`; False where a checkpoint follows.
        parallel: the processes that share the work, see `sma.training.parallel.joining.started`. None: only
            this one.

    Raises:
        ValueError: if the model does not fit the task or the weights, the device does not exist, the
            package of a logger is missing, a process would be without data, or operations are limited and
            a part of the model does not count its own.
    """

    def __init__(
        self,
        spec: TrainSpec,
        task: Task,
        *,
        observer: Observer | None = None,
        from_weights: bool = True,
        parallel: Parallel | None = None,
    ) -> None:
        if spec.threads is not None:
            torch.set_num_threads(spec.threads)
        self.spec = spec
        self.task = task
        self.parallel = parallel if parallel is not None else OneProcess()
        heard = observer if observer is not None else Observer()
        self.observer = heard if self.parallel.is_main else _Silent()
        self.device = self.parallel.device(spec.device)
        seed_everything(spec.seed)
        self.parallel.check(compiled=spec.compile)
        self._loggers = [logger.build() for logger in spec.loggers if self.parallel.is_main]
        self.model = spec.model.build()
        if from_weights and spec.weights is not None:
            start_from(self.model, spec.weights)
        check_fit(self.model, task)
        self.precision = Precision(spec.precision, self.device)
        self.gradients = Gradients(spec, task, self.model, self.parallel, self.precision)
        if self.parallel.world > 1:
            self.parallel.share(task.training_batch(spec.batch_size, torch.Generator().manual_seed(0)))
        self.model.activation_checkpointing = spec.activation_checkpointing
        self.model.to(self.device, torch.float64 if spec.precision == "float64" else torch.float32)
        self.average = None if spec.average is None else averaged(self.model, spec.average)
        call = sma.recorded(self.model, compiled=spec.compile, **(COMPILER if spec.compile else {}))
        self.call = self.parallel.wrap(self.model, call)
        if self.average is not None:
            self.parallel.wrap_average(self.average.module)
        self.optimizer = spec.optimizer.of_model(self.model, spec.learning_rate)
        self.position = Position()
        self._follow_schedule()
        self._clock = perf_counter()
        self._lines = Lines(counts_operations=self.gradients.counts_operations)
        self._breaks = len(graph_breaks()) if spec.compile else None  # before the first compiled step
        self._background = Background()  # writes checkpoints

    @property
    def n_parameters(self) -> int:
        """How many numbers are trained."""
        return sum(parameter.numel() for parameter in self.model.parameters())

    @property
    def validated_model(self) -> nn.Module:
        """The model that is validated and kept: with averaged weights, if there are such."""
        return self.model if self.average is None else self.average.module

    @property
    def progress(self) -> float:
        """The share of the run that is done, by steps, operations or time."""
        return limits.progress(self.spec, self.position)

    def resume(self, run: Run) -> None:
        """Go back to the newest checkpoint of a run.

        Raises:
            RunError: if the checkpoint is missing or damaged.
            ValueError: if it belongs to another spec.
        """
        self.position = load_checkpoint(
            run,
            self.spec,
            self.model,
            self.optimizer,
            average=self.average,
            scaler=self.precision.scaler,
        )
        self._follow_schedule()
        n_rows = run.rewind_metrics(self.position.step)
        self._say(notices.lost_lines(run, self.position, n_rows))
        self.position = self.position.at(n_rows=n_rows)
        if (text := notices.lost_best(run, self.position)) is not None:
            self._say(text)
            self.position = self.position.at(best_step=None, best_loss=None, stale=0)

    def fit(self, run: Run) -> Ending:
        """Train until the steps or the time are used up, Ctrl-C or SIGTERM; leave a checkpoint in any case.

        Only one process at a time may train a run: hold `run.lock()` where there may be several.

        Raises:
            RunError: if the loss is not a number, or something cannot be written; what was saved stays.
        """
        self.model.train()
        self._clock = perf_counter() - self.position.elapsed
        with self._background:
            self._begin(run)
            with running(self._loggers, run.path, self.spec.model_dump(mode="json"), self.position.step):
                with interruptible(self._say) as interrupt:
                    ending = self._train(run, interrupt)
                self._save(run)
                self._written()
                return ending if ending == "terminated" else self._finish(run, ending)

    def _begin(self, run: Run) -> None:
        """Save the first weights of a new run, and say what may be unexpected."""
        if self.position.step == 0:
            self._save(run)
            self._written()  # what cannot be written fails now
        self.observer.on_start(self)
        ending = limits.reached(self.spec, self.position)
        self._say(
            notices.long_warmup(self.spec)
            if ending is None
            else notices.nothing_left(run, self.spec, self.position, ending)
        )

    def _finish(self, run: Run, ending: Ending) -> Ending:
        """Validate once more where that is missing."""
        ended_between = ending in ("finished", "time limit") and self.position.validated != self.position.step
        if self.position.best_step is None or ended_between:
            try:
                self._validate(run)
            except Terminated:
                return "terminated"
            self._save(run)
            self._written()
        return ending

    def _train(self, run: Run, interrupt: Interrupt) -> Ending:
        try:
            while True:
                agreed = self._agree(interrupt)
                if agreed.requested != "terminated" and limits.validation_is_due(self.spec, self.position):
                    self._validate(run)
                    self._save(run)
                    agreed = self._agree(interrupt)
                elif limits.checkpoint_is_due(self.spec, self.position):
                    self._save(run)
                ending = limits.reached(self.spec, self.position) or agreed.requested
                if ending is not None:
                    return ending
                self._step(run)
        except Terminated:
            return "terminated"

    def _say(self, text: str | None) -> None:
        if text is not None:
            self.observer.on_notice(self, text)

    def _agree(self, interrupt: Interrupt) -> Interrupt:
        """What was asked of any process; and the first one's clock becomes that of all."""
        elapsed = self.position.elapsed if self.parallel.is_main else 0.0
        asked = [interrupt.requested == "interrupted", interrupt.requested == "terminated"]
        agreed = self.parallel.sum(torch.tensor([elapsed, *asked], dtype=torch.float64)).tolist()
        self.position = self.position.at(elapsed=agreed[0])
        return Interrupt("terminated" if agreed[2] else "interrupted" if agreed[1] else None)

    def _step(self, run: Run) -> None:
        set_progress(self.model, self._planned_progress())
        self.optimizer.zero_grad()
        detailed = (self.position.step + 1) % self.spec.log_interval == 0
        totals = self.gradients.of_step(self.call, self.position.step, detailed=detailed)
        self._lines.passed(totals.n_elements)
        norm = self._change_weights(run, totals.loss)
        rate = self.optimizer.param_groups[0]["lr"]
        self.position = self.position.at(
            step=self.position.step + 1,
            pending=(*self.position.pending, (totals.loss, totals.entropy)),
            elapsed=perf_counter() - self._clock,
            operations=self.position.operations + round(totals.operations),
            n_real=self.position.n_real + totals.n_real,
        )
        self.precision.advance(self.scheduler)
        self._tell_breaks()
        self.observer.on_step(self, totals.loss)
        if detailed:
            self._log_training(run, totals, norm, rate)

    def _change_weights(self, run: Run, loss: float) -> float:
        """Clip the gradient and follow it; its norm, 0 in a step that is left out as it is infinite."""
        self.precision.unscale(self.optimizer)
        norm = clip_gradient(self.model.parameters(), self.spec.clip)
        skipped = math.isfinite(loss) and self.precision.skips(norm)
        what = None if skipped else notices.not_finite(loss, norm)
        if what is not None:
            rate = self.optimizer.param_groups[0]["lr"]
            what = f"{what} in step {self.position.step + 1} (learning rate {rate:.3g})"
            raise notices.failure(run, self.spec, self.position, what)
        self.precision.step(self.optimizer)
        if self.average is not None:
            self.average.update_parameters(self.model)
        return 0.0 if skipped else norm

    def _tell_breaks(self) -> None:
        """Say after the first compiled step where its graph is interrupted."""
        if self._breaks is not None:
            self._say(notices.interrupted_graphs(graph_breaks()[self._breaks :]))
            self._breaks = None

    def _follow_schedule(self) -> None:
        """Give every group of the optimizer the learning rate of the next step."""
        self.scheduler = self.spec.schedule.build(
            self.optimizer, self._planned_progress, steps=self.spec.steps, done=self.position.step
        )

    def _planned_progress(self) -> float:
        """The progress that schedules follow."""
        return limits.planned_progress(self.spec, self.position)

    def _log_training(self, run: Run, totals: Totals, norm: float, rate: float) -> None:
        row = self._lines.training(
            self.position, totals, gradient_norm=norm, learning_rate=rate, loss_scale=self.precision.scale
        )
        self.position = self.position.at(pending=())
        self._log(run, row)

    def _validate(self, run: Run) -> None:
        with self.parallel.terminable():
            result = evaluate(
                self.validated_model,
                self.task,
                "validation",
                batch_size=self.spec.batch_size,
                parallel=self.parallel,
            )
        if not math.isfinite(result.loss):
            what = f"the validation loss is {result.loss} after step {self.position.step}"
            raise notices.failure(run, self.spec, self.position, what)
        if self.position.is_best(result.loss):
            save_best(run, self.validated_model)
        before = self.position.elapsed
        self.position = self.position.after_validation(result.loss, perf_counter() - self._clock)
        self._lines.paused(self.position.elapsed - before)
        self._log(run, self._lines.validation(self.position, result))

    def _log(self, run: Run, row: dict[str, Any]) -> None:
        run.log(row)
        self.position = self.position.at(n_rows=self.position.n_rows + 1)
        for logger in self._loggers:
            logger.log(row["step"], scalars(row))
        self.observer.on_row(self, row)

    def _save(self, run: Run) -> None:
        """Copy all that a checkpoint holds, and let it be written beside training."""
        save_checkpoint(
            run,
            self.spec,
            self.position,
            self.model,
            self.optimizer,
            average=self.average,
            scaler=self.precision.scaler,
            background=self._background,
        )

    def _written(self) -> None:
        """Until the newest checkpoint is on disk."""
        self._background.wait()
        self.parallel.wait()
