"""docs/sparsify.md is what its results say, and what has none is listed."""

import re

from benchmarks.sparsify_page import PAGE, STATIC, figure, kinds, longer, page, settings, table, times
from benchmarks.sparsify_runs import Run, plan, read


def made(operations, recall, control="learned", seed=0):
    found = {
        "quality": {"recall at 10": recall},
        "cost": {"operations": operations, "time": None if seed else 0.9},
        "distillation seconds": 10.0,
        "settings": {"steps": 7},
        "batch": [16, 32],
        "threads": 1,
        "torch": "2",
        "kinds of tokens": {"[CLS]": [0.25, 0.1]},
    }
    return {Run("minilm", "both", 0.4, control, seed).name: found}


FOUND = {
    "minilm-dense": {"quality": {"recall at 10": 0.6}},
    "minilm-time": {
        "times": [
            {"parts": parts, "rate": rate, "operations": rate, "time": rate / 2}
            for parts in ("both", "attention", "feed-forwards")
            for rate in (0.5, 1.0)
        ]
    },
    **made(0.5, 0.4),
    **made(0.7, 0.5, seed=2),
    **made(0.6, 0.3, control="random"),
}


def test_runs_are_means_over_seeds():
    lines = table("minilm", FOUND.get)
    assert lines[2] == "| none |  | dense | 0.600 | 100 % | 100 % |"
    assert "| both | 40 % | learned | 0.450 ± 0.071 | 60 ± 14 % | 90 % |" in lines
    assert "| both | 40 % | random, same rates | 0.300 | 60 % | 90 % |" in lines
    assert sum("±" in line for line in lines) == 1


def test_what_is_missing_is_listed_as_not_run():
    lines = "\n".join(table("minilm", FOUND.get))
    assert (
        "Not run, of attention: 3 of 3 seeds of 80 % learned, 80 % random, 80 % even, 80 % dropped, 60 %"
        in lines
    )
    assert "Not run, of both: 2 of 3 seeds of 40 % random." in lines
    assert "Not run, of both: 1 of 3 seeds of 40 % learned." in lines
    assert table("llama", FOUND.get) == times("llama", FOUND.get) == ["Not run."]
    assert figure("llama", FOUND.get) is None


def test_times_kinds_and_settings():
    assert times("minilm", FOUND.get)[2] == "| feed-forwards | 50 (100) | 25 (50) |"
    assert kinds("minilm", FOUND.get)[2:] == ["| of all tokens |  | 10 % |", "| both | 40 % | 25 % |"]
    assert "7 steps of 16 rows of up to 32 tokens" in settings("minilm", FOUND.get)[0]
    assert longer("minilm", FOUND.get)[2:4] == [
        "| 40 % | learned | 7 | 0.400 | 50 % |",
        "| 40 % | learned | 1000 | not run | not run |",
    ]
    assert b"<svg" in figure("minilm", FOUND.get)


def test_a_plan_makes_learned_models_before_their_controls():
    order = [run.name for run in plan("minilm")]
    assert len(set(order)) == len(order) == 3 * 4 * 3 * 4 + 2 * 4
    for name in order:
        learned = re.sub("random|even|dropped", "learned", name)
        assert order.index(learned) <= order.index(name)


def test_the_page_is_written_anew():
    assert PAGE.read_text() == page(), "run python -m benchmarks.sparsify_page"
    for model in ("minilm", "llama"):
        assert (STATIC / f"sparsify_{model}.svg").exists() == (figure(model, read) is not None)
