"""The runs that `sma train` knows by the name of their task. Values as a user would write them in YAML."""

import copy
from typing import Any

from sma.checks import near

_TEXT_RUN: dict[str, Any] = {
    "task": {"kind": "python_source", "length": 512},
    "model": {
        "kind": "sequence_model",
        "d_model": 128,
        "embedding": {"kind": "tokens", "vocab_size": 256, "scale": True},
        "blocks": [
            {
                "kind": "residual",
                "repeat": 4,
                "mixer": {"kind": "ema", "d_state": 8},
                "branches": [
                    {"kind": "linear"},
                    {
                        "kind": "sma",
                        "router": {
                            "kind": "activation_budget",
                            "router": {"kind": "latent_configurator"},
                            "rate": 0.3,
                            "coefficient": 1.0,
                        },
                        "modules": [{"kind": "gau", "d_qk": 32, "d_hidden": 128, "window": 128}],
                    },
                ],
            }
        ],
        "norm": {"kind": "layer_norm"},
        "head": {"kind": "language_model"},
    },
    "steps": 3600,
    "batch_size": 4,
    "learning_rate": 7e-3,
    "schedule": {"kind": "linear", "warmup": 100},
    "optimizer": {"kind": "adamw", "weight_decay": 0.01},
    "validation_interval": 200,
}

_DIGITS_RUN: dict[str, Any] = {
    "task": {"kind": "digits"},
    "model": {
        "kind": "sequence_model",
        "d_model": 64,
        "embedding": {"kind": "features", "d_input": 1, "sinusoid": True},
        "blocks": [
            {
                "kind": "residual",
                "repeat": 4,
                "norm": {"kind": "batch_norm"},
                "mixer": {"kind": "ema", "d_state": 8, "bidirectional": True},
                "branches": [
                    {"kind": "linear"},
                    {
                        "kind": "sma",
                        "router": {"kind": "latent_configurator"},
                        "modules": [
                            {"kind": "gau", "d_qk": 16, "d_hidden": 64, "window": 16, "bidirectional": True}
                        ],
                    },
                ],
            }
        ],
        "norm": {"kind": "batch_norm"},
        "head": {"kind": "classifier", "n_classes": 10},
    },
    "steps": 800,
    "batch_size": 32,
    "learning_rate": 5e-3,
    "schedule": {"kind": "linear", "warmup": 80},
    "optimizer": {"kind": "adamw", "weight_decay": 0.01},
}

_TABLE_RUN: dict[str, Any] = {
    **_DIGITS_RUN,
    "task": {"kind": "table_classification"},
    "model": {
        "preset": "seqboat",
        "d_model": 64,
        "n_layers": 3,
        "vocab_size": 256,
        "n_classes": 2,
        "d_qk": 16,
        "d_hidden": 64,
        "window": 32,
        "d_state": 8,
    },
    "batch_size": 16,
}

_WORDNET_RUN: dict[str, Any] = {
    "task": {"kind": "wordnet"},
    "model": {
        "preset": "graph_network",
        "d_model": 64,
        "n_layers": 2,
        "n_classes": 45,
        "embedding": {"kind": "bag", "vocab_size": 32768},
        "router": {"kind": "latent_configurator"},
        "dropout": 0.1,
    },
    "steps": 1000,
    "batch_size": 512,
    "learning_rate": 5e-3,
    "schedule": {"kind": "linear", "warmup": 80},
    "optimizer": {"kind": "adamw", "weight_decay": 0.01},
    "validation_interval": 250,
}

_KARATE_RUN: dict[str, Any] = {
    "task": {"kind": "karate"},
    "model": {
        "preset": "graph_network",
        "d_model": 16,
        "n_layers": 1,
        "d_input": 34,
        "n_classes": 4,
        "mixer": {
            "kind": "dense",
            "module": {"kind": "graph_convolution", "name": "APPNP", "arguments": {"K": 5, "alpha": 0.1}},
        },
        "router": {
            "kind": "activation_budget",
            "router": "latent_configurator",
            "rate": 0.3,
            "coefficient": 1.0,
        },
        "dropout": 0.5,
    },
    "steps": 200,
    "batch_size": 4,
    "learning_rate": 1e-2,
    "schedule": {"kind": "constant"},
    "optimizer": {"kind": "adamw", "weight_decay": 0.05},
    "validation_interval": 20,
}

_RUNS = {
    "python_source": _TEXT_RUN,
    "text_files": {**_TEXT_RUN, "task": {**_TEXT_RUN["task"], "kind": "text_files"}},
    "table_text": {**_TEXT_RUN, "task": {**_TEXT_RUN["task"], "kind": "table_text"}},
    "table_classification": _TABLE_RUN,
    "digits": _DIGITS_RUN,
    "wordnet": _WORDNET_RUN,
    "karate": _KARATE_RUN,
}


def run_names() -> list[str]:
    """The tasks that have a ready run."""
    return list(_RUNS)


def run_values(task: str) -> dict[str, Any]:
    """The fields of the ready run of a task, for `TrainSpec.model_validate`.

    Raises:
        ValueError: if the task has none.

    Example:
        >>> run_values("digits")["task"]
        {'kind': 'digits'}
    """
    if task not in _RUNS:
        raise ValueError(
            f"task {task!r} has no ready run{near(task, _RUNS)}; a task of another package needs a whole run "
            "in a file, given by --spec"
        )
    return copy.deepcopy(_RUNS[task])
