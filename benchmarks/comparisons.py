"""Make the comparisons of docs/results.md, and keep what they measured in a small file beside each.

    python -m benchmarks.comparisons benchmarks/results/recall_8.yaml [...] [--seeds 1] [--jobs 1]

A comparison is a YAML file that holds what `sma compare` takes. Its runs are kept in `runs/comparisons/NAME`, so
the command may be stopped and started again, and be given more seeds; results.json of the runs that are
finished is copied to `NAME.json`.
"""

import argparse
import json
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field

from sma.architectures.files.atomic import write_whole
from sma.spec.base import Fields
from sma.training import compare
from sma.training.comparison.compare import Progress
from sma.training.comparison.measurements import Comparison

RUNS = Path("runs/comparisons")


class Model(Fields):
    """A model that is compared.

    Attributes:
        source: as `sma compare` takes it.
        set: fields that are changed, as `FIELD=VALUE`.
        controls: that are made of it.
    """

    source: str = "ready"
    set: tuple[str, ...] = ()
    controls: tuple[str, ...] = ()


class Study(Fields):
    """A comparison, see `sma.training.compare`.

    Attributes:
        task: its kind.
        match: what budgets are of.
        budgets: of each its own runs.
        seeds: how many are wanted.
        set: fields that are changed for all models.
        learning_rates: to try for each model.
        models: by name; the others are compared with the first.
    """

    task: str
    match: Literal["operations", "seconds", "steps"] = "steps"
    budgets: tuple[float, ...] = Field(min_length=1)
    seeds: int = 3
    set: tuple[str, ...] = ()
    learning_rates: tuple[float, ...] = ()
    models: dict[str, Model] = Field(min_length=1)

    @classmethod
    def read(cls, path: Path) -> "Study":
        """That of a YAML file."""
        return cls.model_validate(yaml.safe_load(path.read_text()))

    def arguments(self) -> dict[str, Any]:
        """Those of `sma.training.compare`, but for the folder and the seeds."""
        own = [f"{name}:{text}" for name, model in self.models.items() for text in model.set]
        return {
            "specs": {name: model.source for name, model in self.models.items()},
            "task": self.task,
            "match": self.match,
            "budgets": self.budgets,
            "learning_rates": self.learning_rates,
            "settings": [*self.set, "device=cpu", "threads=1", *own],
            "controls": [f"{name}:{text}" for name, model in self.models.items() for text in model.controls],
        }


def write(comparison: Comparison, path: Path) -> None:
    """Keep what a comparison measured so far, a line per run."""
    fields = comparison.model_dump(mode="json", exclude={"runs"})
    head = "".join(f"{json.dumps(name)}: {json.dumps(value)},\n" for name, value in fields.items())
    runs = ",\n".join(run.model_dump_json() for run in comparison.runs)
    write_whole(path.with_suffix(".json"), f'{{\n{head}"runs": [\n{runs}\n]\n}}\n')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("studies", type=Path, nargs="+")
    parser.add_argument("--seeds", type=int)
    parser.add_argument("--jobs", type=int, default=1)
    options = parser.parse_args()
    for path in options.studies:
        study = Study.read(path)

        def listener(progress: Progress, line: str | None) -> None:
            if line:
                print(line, flush=True)

        found = compare(
            **study.arguments(),
            out=RUNS / path.stem,
            seeds=study.seeds if options.seeds is None else options.seeds,
            jobs=options.jobs,
            listener=listener,
        )
        write(found, path)


if __name__ == "__main__":
    main()
