"""The runs that `sma train` knows by the name of their task. Values as a user would write them in YAML."""

import copy
from typing import Any

from sma.checks import near


def _layers(
    n: int,
    *,
    d_qk: int,
    d_hidden: int,
    window: int,
    d_state: int = 8,
    norm: str | None = None,
    router: str = "latent_configurator",
    rate: float | None = None,
) -> dict[str, Any]:
    """`n` SeqBoat layers: bidirectional ones with a `norm`, causal ones without; a budget holds the rate."""
    routed: dict[str, Any] = {"kind": router}
    if rate is not None:
        routed = {"kind": "activation_budget", "router": routed, "rate": rate, "coefficient": 0.1}
    both = {} if norm is None else {"bidirectional": True}
    gau = {"kind": "gau", "d_qk": d_qk, "d_hidden": d_hidden, "window": window, **both}
    return {
        "kind": "residual",
        "repeat": n,
        **({} if norm is None else {"norm": {"kind": norm}}),
        "mixer": {"kind": "ema", "d_state": d_state, **both},
        "branches": [{"kind": "linear"}, {"kind": "sma", "router": routed, "modules": [gau]}],
    }


def _model(
    layers: dict[str, Any], *, d_model: int, embedding: dict[str, Any], head: dict[str, Any]
) -> dict[str, Any]:
    norm = layers.get("norm", {"kind": "layer_norm"})
    return {
        "kind": "sequence_model",
        "d_model": d_model,
        "embedding": embedding,
        "blocks": [layers],
        "norm": norm,
        "head": head,
    }


def _classifier(n_classes: int, *, n_documents: int = 1) -> dict[str, Any]:
    return {"kind": "classifier", "n_classes": n_classes, "n_documents": n_documents}


_PIXELS = {"kind": "features", "d_input": 1, "sinusoid": True}
_ADAMW = {"kind": "adamw", "weight_decay": 0.01}


def _run(
    task: dict[str, Any],
    model: dict[str, Any],
    *,
    steps: int,
    batch_size: int,
    learning_rate: float,
    every: int,
) -> dict[str, Any]:
    """A run whose learning rate rises over a tenth of the steps; validated `every` so many."""
    return {
        "task": task,
        "model": model,
        "steps": steps,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "schedule": {"kind": "linear", "warmup": steps // 10},
        "optimizer": _ADAMW,
        "validation_interval": every,
    }


def _recall_run(task: dict[str, Any]) -> dict[str, Any]:
    """A task with known needs; a budget is for the user to set, as it makes learning slower."""
    embedding = {"kind": "tokens", "vocab_size": task["vocab_size"], "scale": True}
    layers = _layers(2, d_qk=32, d_hidden=64, window=64)
    model = _model(layers, d_model=64, embedding=embedding, head={"kind": "language_model"})
    run = _run(
        {**task, "length": 64, "n_evaluation": 500},
        model,
        steps=1500,
        batch_size=64,
        learning_rate=3e-3,
        every=250,
    )
    return {**run, "schedule": {"kind": "linear", "warmup": 100}}


_TEXT_RUN: dict[str, Any] = {
    "task": {"kind": "python_source", "length": 512},
    "model": _model(
        _layers(4, d_qk=32, d_hidden=128, window=128, rate=0.3),
        d_model=128,
        embedding={"kind": "tokens", "vocab_size": 256, "scale": True},
        head={"kind": "language_model"},
    ),
    "steps": 3600,
    "batch_size": 4,
    "learning_rate": 7e-3,
    "schedule": {"kind": "linear", "warmup": 100},
    "optimizer": {**_ADAMW, "decayed": "all"},  # with weights alone 0.012 bits per byte more
    "validation_interval": 200,
}


def _own_text(kind: str) -> dict[str, Any]:
    """A user's own text, of any size: the warm-up is the same share of however many steps are asked for."""
    task = {**_TEXT_RUN["task"], "kind": kind}
    return {**_TEXT_RUN, "task": task, "schedule": {"kind": "linear", "warmup": 0.03}}


_DIGITS_RUN: dict[str, Any] = {
    "task": {"kind": "digits"},
    "model": _model(
        _layers(4, d_qk=16, d_hidden=64, window=16, norm="batch_norm"),
        d_model=64,
        embedding=_PIXELS,
        head={"kind": "classifier", "n_classes": 10},
    ),
    "steps": 800,
    "batch_size": 32,
    "learning_rate": 5e-3,
    "schedule": {"kind": "linear", "warmup": 80},
    "optimizer": _ADAMW,
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

_LISTOPS_RUN = _run(
    {
        "kind": "listops",
        "min_length": 20,
        "max_length": 200,
        "max_depth": 6,
        "max_args": 6,
        "n_training": 50_000,
        "n_validation": 1000,
    },
    _model(
        _layers(4, d_qk=32, d_hidden=64, window=64, norm="layer_norm"),
        d_model=64,
        embedding={"kind": "tokens", "vocab_size": 15},
        head=_classifier(10),
    ),
    steps=1500,
    batch_size=32,
    learning_rate=3e-3,
    every=250,
)


_PATHFINDER_RUN = {
    **_run(
        {"kind": "pathfinder", "side": 12, "n_training": 50_000, "n_validation": 1000, "n_test": 5000},
        _model(
            # learned decisions reach less in the same time, see docs/tasks.md
            _layers(2, d_qk=16, d_hidden=32, window=40, d_state=4, norm="batch_norm", router="always"),
            d_model=32,
            embedding={"kind": "features", "d_input": 1},
            head=_classifier(2),
        ),
        steps=2500,
        batch_size=32,
        learning_rate=1e-2,
        every=250,
    ),
    "schedule": {"kind": "linear", "warmup": 100},
}

_FASHION_RUN = _run(
    {"kind": "fashion_mnist", "side": 14, "n_validation": 1000},
    _model(
        _layers(4, d_qk=16, d_hidden=64, window=32, norm="batch_norm"),
        d_model=64,
        embedding=_PIXELS,
        head=_classifier(10),
    ),
    steps=1000,
    batch_size=32,
    learning_rate=5e-3,
    every=200,
)


def _bytes_model(head: dict[str, Any]) -> dict[str, Any]:
    layers = _layers(2, d_qk=32, d_hidden=64, window=64, norm="layer_norm")
    return _model(layers, d_model=64, embedding={"kind": "tokens", "vocab_size": 256}, head=head)


_NEWS_RUN = _run(
    {"kind": "news", "max_length": 1000},
    _bytes_model(_classifier(5)),
    steps=600,
    batch_size=16,
    learning_rate=5e-3,
    every=100,
)

_DOCS_RUN = _run(
    {"kind": "python_docs", "max_length": 1000},
    _bytes_model(_classifier(2, n_documents=2)),
    steps=500,
    batch_size=8,
    learning_rate=5e-3,
    every=100,
)

_SPEECH_RUN = _run(
    {
        "kind": "synthetic_speech",
        "sample_rate": 2000,
        "seconds": 0.5,
        "rates": [180],
        "pitches": [40, 60],
    },
    _model(
        _layers(3, d_qk=16, d_hidden=64, window=64, norm="batch_norm"),
        d_model=64,
        embedding=_PIXELS,
        head=_classifier(10),
    ),
    steps=400,
    batch_size=8,
    learning_rate=5e-3,
    every=200,
)

_RUNS = {
    "python_source": _TEXT_RUN,
    "text_files": _own_text("text_files"),
    "table_text": _own_text("table_text"),
    "table_classification": _TABLE_RUN,
    "gcide": {**_TEXT_RUN, "task": {**_TEXT_RUN["task"], "kind": "gcide"}},
    "digits": _DIGITS_RUN,
    "fashion_mnist": _FASHION_RUN,
    "pathfinder": _PATHFINDER_RUN,
    "listops": _LISTOPS_RUN,
    "news": _NEWS_RUN,
    "python_docs": _DOCS_RUN,
    "synthetic_speech": _SPEECH_RUN,
    "associative_recall": _recall_run(
        {"kind": "associative_recall", "vocab_size": 64, "n_pairs": 8, "n_queries": 8}
    ),
    "selective_copying": _recall_run({"kind": "selective_copying", "vocab_size": 16, "n_values": 8}),
    "induction_heads": _recall_run({"kind": "induction_heads", "vocab_size": 16}),
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
            f"task {task!r} has no ready run{near(task, _RUNS)}; the paper's tasks have a --recipe (see "
            "`sma tasks`), and a task of another package needs a whole run in a file, given by --spec"
        )
    return copy.deepcopy(_RUNS[task])
