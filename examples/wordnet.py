"""WordNet: the lexical class of 117,659 synsets. How many need to look at their neighbours?

Trains one graph network per router on the same data and prints accuracy, activation and time. Needs the
Debian package wordnet-base. About two minutes per router on two cores:

    python examples/wordnet.py --routers always latent_configurator
"""

import argparse
import statistics
import sys
import tempfile
import time

import torch

from sma.training import Run, Trainer, TrainSpec, evaluate
from sma.training.tasks.graphs import WordNetSpec
from sma.training.trainer import Observer

BUDGET = {"kind": "activation_budget", "router": "latent_configurator", "coefficient": 1.0}
ROUTERS = {
    "never": "never",
    "budget_25": {**BUDGET, "rate": 0.25},
    "budget_50": {**BUDGET, "rate": 0.5},
    "latent_configurator": "latent_configurator",
    "always": "always",
}
MEAN = {
    "kind": "dense",
    "module": {
        "kind": "graph_convolution",
        "name": "SimpleConv",
        "arguments": {"aggr": "mean", "combine_root": "sum"},
    },
}


class StepTimes(Observer):
    """Seconds of every step, without what comes between steps."""

    def __init__(self):
        self.marks = []

    def on_step(self, trainer, loss):
        self.marks.append(time.perf_counter())

    @property
    def median(self):
        return statistics.median(b - a for a, b in zip(self.marks, self.marks[1:], strict=False))


def run_spec(router, arguments):
    return TrainSpec.model_validate(
        {
            "task": {"kind": "wordnet"},
            "model": {
                "preset": "graph_network",
                "d_model": arguments.d_model,
                "n_layers": 2,
                "n_classes": 45,
                "embedding": {"kind": "bag", "vocab_size": WordNetSpec().vocab_size},
                "router": router,
                "mixer": MEAN if arguments.mean else None,
                "dropout": 0.1,
            },
            "steps": arguments.steps,
            "batch_size": 512,
            "learning_rate": 5e-3,
            "schedule": {"kind": "linear", "warmup": arguments.steps // 12},
            "validation_interval": arguments.steps,
            "seed": arguments.seed,
            "threads": arguments.threads,
        }
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--routers", nargs="+", choices=ROUTERS, default=list(ROUTERS))
    parser.add_argument("--mean", action="store_true", help="let all nodes see the mean of their neighbours")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--d-model", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    try:
        task = WordNetSpec().build()
    except ValueError as error:
        sys.exit(str(error))
    for name, value in {**task.facts, **task.baselines()}.items():
        print(f"{name}: {value if isinstance(value, str) else format(value, '.1%')}")
    print(
        f"{'router':>20} {'test accuracy':>14} {'active, by layer':>17} {'s per epoch':>12} {'s in all':>9}"
    )
    for name in arguments.routers:
        spec, times, start = run_spec(ROUTERS[name], arguments), StepTimes(), time.perf_counter()
        trainer = Trainer(spec, task, observer=times)
        with tempfile.TemporaryDirectory() as folder:
            trainer.fit(Run.create(spec, folder, None))
        seconds = time.perf_counter() - start
        test = evaluate(trainer.model, task, "test", batch_size=2048)
        rates = " ".join(f"{rate:.1%}" for (rate,) in test.activation_rates.values())
        epoch = times.median * len(task.splits["training"]) / spec.batch_size
        print(f"{name:>20} {test.accuracy:>14.1%} {rates:>17} {epoch:>12.1f} {seconds:>9.0f}", flush=True)


if __name__ == "__main__":
    main()
