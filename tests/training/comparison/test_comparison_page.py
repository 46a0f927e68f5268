"""The page of a comparison, made of its results alone."""

from pathlib import Path

from browsing import Browser

from sma.training.comparison.comparison_page import comparison_page, write_pages
from sma.training.comparison.measurements import Comparison, read_comparison, write_comparison


def test_the_page_says_what_was_measured(comparison: Comparison) -> None:
    page = comparison_page(comparison, "mine", b"\x89PNG" + bytes(30))
    for text in (
        "Comparison mine",
        "made-up text",
        "1.950 ± 0.071 (2)",
        "routed overtakes wide at about",
        "control of routed: the model without routed parts",
        "out of &lt;memory&gt;",
        "forward operations of training: wide (100G), wide (1T), routed (10T)",
    ):
        assert text in page
    assert "http" not in page
    accuracy = comparison.model_copy(update={"headline": "accuracy", "lower_is_better": False})
    assert " %</b>" in comparison_page(accuracy, "mine", b"\x89PNG" + bytes(30))


def test_page_and_figure_come_from_results_json(tmp_path: Path, comparison: Comparison) -> None:
    write_comparison(tmp_path, comparison)
    assert read_comparison(tmp_path) == comparison
    page = write_pages(tmp_path, read_comparison(tmp_path))
    first = page.read_bytes(), (tmp_path / "comparison.png").read_bytes()
    page.unlink()
    write_pages(tmp_path, read_comparison(tmp_path))
    assert (page.read_bytes(), (tmp_path / "comparison.png").read_bytes()) == first


def test_the_page_is_read_on_small_and_large_screens(
    browser: Browser, tmp_path: Path, comparison: Comparison
) -> None:
    long = "a-model-whose-name-goes-on-and-on-without-a-space-in-it-for-sixty-characters"
    models = [comparison.models[0], comparison.models[1].model_copy(update={"name": long})]
    runs = [
        run if run.model == "routed" else run.model_copy(update={"model": long}) for run in comparison.runs
    ]
    page = write_pages(tmp_path, comparison.model_copy(update={"models": models, "runs": runs}))
    browser.check(page)
    assert browser.visit(page, lambda shown: shown.locator("section table").count(), width=380) >= 5
