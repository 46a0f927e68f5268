"""The figure of a comparison: what is drawn where."""

from sma.training.comparison.figure import COSTS, draw_comparison, front, mean_points, scale
from sma.training.comparison.measurements import Comparison


def test_points_are_means_over_seeds_where_all_runs_have_the_cost(comparison: Comparison) -> None:
    points = mean_points(comparison, COSTS[0][1])
    assert points["routed", 1e12] == (1e12, 2.05)
    runs = [comparison.runs[0].model_copy(update={"peak_memory": None}), *comparison.runs[1:]]
    fewer = mean_points(comparison.model_copy(update={"runs": runs}), COSTS[2][1])
    assert set(points) - set(fewer) == {("routed", 1e11)}


def test_the_front_goes_over_models_and_budgets(comparison: Comparison) -> None:
    points = mean_points(comparison, COSTS[1][1])
    assert front(points, lower_is_better=True) == [("wide", 1e11), ("wide", 1e12), ("routed", 1e13)]


def test_the_figure_is_a_png(comparison: Comparison) -> None:
    assert draw_comparison(comparison).startswith(b"\x89PNG")
    runs = [run.model_copy(update={"peak_memory": None}) for run in comparison.runs]
    assert draw_comparison(comparison.model_copy(update={"runs": runs})).startswith(b"\x89PNG")


def test_near_costs_have_a_linear_scale() -> None:
    assert [scale(costs) for costs in ([3.7, 4.4], [1.0, 10.0, 2.0], [0.0, 5.0], [])] == [
        "linear",
        "log",
        "linear",
        "linear",
    ]
