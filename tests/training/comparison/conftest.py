"""A comparison with made-up measurements."""

import pytest

from sma.training.comparison.measurements import Comparison, Missing, ModelRecord, RunRecord


def run_of(model: str, budget: float, seed: int, quality: float, **changes) -> RunRecord:
    """A run's record, whose costs follow from its budget."""
    values = {
        "model": model,
        "budget": budget,
        "seed": seed,
        "learning_rate": 3e-3,
        "d_model": 64,
        "parameters": 1000,
        "steps": 10,
        "elements": 5000,
        "operations": int(budget),
        "seconds": budget / 1e10,
        "peak_memory": 2**20 * (20 if model == "wide" else 30),
        "quality": quality,
        "bits": quality,
        "accuracy": 0.5,
        "validation_loss": quality,
        "rates": {} if model == "wide" else {"blocks.0.branches.1": [0.25], "blocks.1.branches.1": [0.35]},
        "course": {},
    }
    return RunRecord.model_validate({**values, **changes})


@pytest.fixture
def comparison() -> Comparison:
    return made_up()


def made_up() -> Comparison:
    """Two models and three budgets, whose curves cross between the last two; one run is missing."""
    qualities = {
        ("routed", 1e11): (2.4, 2.3),
        ("routed", 1e12): (2.1, 2.0),
        ("routed", 1e13): (1.6, 1.7),
        ("wide", 1e11): (2.2, 2.3),
        ("wide", 1e12): (1.9, 2.0),
        ("wide", 1e13): (1.8,),
    }
    return Comparison(
        task="made-up text",
        unit="byte",
        headline="bits",
        match="operations",
        budgets=[1e11, 1e12, 1e13],
        seeds=[0, 1],
        models=[
            ModelRecord(name="routed", source="ready", control=None, of=None),
            ModelRecord(name="wide", source="ready", control="wider", of="routed"),
        ],
        runs=[
            run_of(model, budget, seed, quality)
            for (model, budget), each in qualities.items()
            for seed, quality in enumerate(each)
        ],
        missing=[Missing(model="wide", budget=1e13, seed=1, reason="out of <memory>")],
        data={"bytes": "100"},
        versions={"sma": "0"},
        machine={"cores": 2},
    )
