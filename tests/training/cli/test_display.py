"""The progress of a run in a terminal."""

import io
from collections.abc import Callable

import pytest
from rich.console import Console

from sma.training import Run
from sma.training.cli.display import Display, output
from sma.training.report.formats import duration
from sma.training.trainer import Trainer

Make = Callable[..., tuple[Trainer, Run]]


@pytest.mark.parametrize("width", [60, 80, 200])
@pytest.mark.parametrize("elapsed", [10.0, 400_000.0])
def test_bar_percentage_and_remaining_time_stay(make: Make, width: int, elapsed: float) -> None:
    """Whatever else there is to say, as of a model of many layers, also when days are left."""
    trainer, _ = make(steps=1000)
    row = {
        "split": "training",
        "step": 250,
        "loss": 5.123,
        "bits": 7.391,
        "elements_per_second": 123_456.0,
        "activation": {f"blocks.{i}.branches.1": [0.31, 0.07] for i in range(12)},
    }
    text = io.StringIO()
    console = Console(file=text, width=width, force_terminal=True, color_system=None)
    with Display(console) as display:
        display.on_start(trainer)
        trainer.position = trainer.position.at(step=250, elapsed=elapsed)
        display.on_step(trainer, 5.0)
        display.on_row(trainer, row)
        text.seek(0)
        text.truncate()
        display._progress.refresh()
        shown = text.getvalue().splitlines()[-1]
    assert " 25 %" in shown
    assert "\u2501" in shown or "\u2578" in shown
    assert f"{duration(3 * elapsed)} left" in shown
    assert "step 250" in shown
    assert len(shown.replace("\x1b[2K", "").replace("\r", "")) <= width


def test_long_lines_are_whole_in_a_pipe(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    line = "a word " * 100
    output().print(line)
    assert capsys.readouterr().out == f"{line}\n"
