"""The page in a browser: what is picked is shown."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from browsing import Browser

from sma.training import Inspection, Run
from sma.training.inspection.inspecting import inspect
from sma.training.inspection.inspection_page import write_page
from sma.training.inspection.rates import Curve, Group


@pytest.fixture(scope="module")
def found(runs: dict[str, Run]) -> Inspection:
    paths = [runs["recall"].path, runs["other seed"].path]
    return inspect(paths, n_rows=4, examples=[0, 1, 2, 3, 4], n_flips=6)


@pytest.fixture(scope="module")
def page(found: Inspection, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_page(found, tmp_path_factory.mktemp("page") / "inspection.html")


def pick(column: int, example: int) -> Any:
    def act(page: Any) -> None:
        page.select_option("#layer", str(column))
        page.select_option("#example", str(example))

    return act


def test_the_page_fits_every_screen(browser: Browser, page: Path) -> None:
    browser.check(page, pick(1, 2))


def test_many_layers_of_long_names_fit(browser: Browser, found: Inspection, tmp_path: Path) -> None:
    """As a sparsified model has them: the tables scroll by themselves."""
    times = 12

    def repeated(groups: list[Group]) -> list[Group]:
        return [replace(group, rates=times * group.rates) for group in groups]

    wide = replace(
        found,
        columns=tuple(replace(c, name="encoder.layer.11.intermediate") for c in times * found.columns),
        positions=repeated(found.positions),
        roles=repeated(found.roles),
        losses=repeated(found.losses),
        training=Curve([], []),
    )
    browser.check(write_page(wide, tmp_path / "page.html"), pick(0, 2))


def test_a_layer_and_an_example_are_picked(browser: Browser, page: Path, found: Inspection) -> None:
    """Without a flip on show, the active elements are marked: those of the layer and example picked."""

    def act(opened: Any) -> None:
        for column, number in ((0, 0), (1, 3), (0, 4)):
            pick(column, number)(opened)
            example = found.examples[number]
            flipped = [flip.position for flip in example.flips if flip.column == column]
            cells = opened.locator("#row span")
            assert cells.all_inner_texts() == [text.replace("\n", "↵\n") for text in example.texts]
            marked = opened.locator("#row .flip").evaluate_all(
                "all => all.map(e => Number(e.dataset.position))"
            )
            assert marked == flipped
            plain = next(i for i in range(len(example.texts)) if i not in flipped)
            cells.nth(plain).click()
            active = opened.locator("#row .on").evaluate_all(
                "all => all.map(e => Number(e.dataset.position))"
            )
            assert active == [i for i, bit in enumerate(example.active[column]) if bit == "1"]
            assert "not flipped" in opened.inner_text("#element")
            n_active = example.active[column].count("1")
            assert f"{n_active} of {example.length} elements activate it" in opened.inner_text("#summary")

    browser.visit(page, act, width=380)


def test_a_flip_shows_what_changes(browser: Browser, page: Path, found: Inspection) -> None:
    def flips_with_changes(place: tuple[int, int]) -> list[Any]:
        column, number = place
        return [flip for flip in found.examples[number].flips if flip.column == column and flip.changes]

    places = [(column, number) for column in (0, 1) for number in range(len(found.examples))]
    place = max(places, key=lambda each: len(flips_with_changes(each)))
    flips = flips_with_changes(place)

    def act(opened: Any) -> None:
        pick(*place)(opened)
        for flip in flips:
            opened.locator(f"#row [data-position='{flip.position}']").press("Enter")
            change = -flip.gain if not flip.was_active else flip.gain
            shown = opened.inner_text("#change").replace("−", "-").removesuffix(" bits")
            assert float(shown) == pytest.approx(change, rel=0.05)
            worse = opened.locator("#row .worse").evaluate_all(
                "all => all.map(e => Number(e.dataset.position))"
            )
            better = opened.locator("#row .better").evaluate_all(
                "all => all.map(e => Number(e.dataset.position))"
            )
            assert worse == [i for i, bits in flip.changes if bits > 0]
            assert better == [i for i, bits in flip.changes if bits < 0]
            assert f"Element {flip.position}," in opened.inner_text("#element")

    assert flips
    browser.visit(page, act)


def test_the_page_opens_where_a_flip_changes_most(browser: Browser, page: Path, found: Inspection) -> None:
    flips = found.examples[0].flips
    largest = max(flips, key=lambda flip: abs(flip.gain))

    def act(opened: Any) -> None:
        assert opened.input_value("#layer") == str(largest.column)
        assert opened.locator("#row .chosen").get_attribute("data-position") == str(largest.position)

    browser.visit(page, act)


def test_the_plot_leads_to_elements(browser: Browser, page: Path, found: Inspection) -> None:
    def act(opened: Any) -> None:
        pick(0, 1)(opened)
        dots = opened.locator("#scatter circle")
        assert dots.count() == sum(flip.column == 0 for each in found.examples for flip in each.flips)
        last = opened.locator("#scatter circle.here").last
        last.dispatch_event("click")
        chosen = opened.locator("#row .chosen")
        assert chosen.count() == 1
        assert "flip" in chosen.get_attribute("class")

    browser.visit(page, act)


def test_pictures_are_shown_as_pictures(browser: Browser, runs: dict[str, Run], tmp_path: Path) -> None:
    found = inspect(runs["digits"].path, n_rows=2, examples=[0, 1], n_flips=4)
    path = write_page(found, tmp_path / "inspection.html")
    browser.check(path, pick(0, 1))

    def act(opened: Any) -> Any:
        pick(0, 1)(opened)
        return opened.locator("#row span").evaluate_all("all => all.map(e => e.getBoundingClientRect().top)")

    tops = browser.visit(path, act, width=380)
    assert [tops.count(top) for top in sorted(set(tops))] == [8] * 8


def test_names_cannot_end_the_script(found: Inspection, tmp_path: Path) -> None:
    example = found.examples[0]
    object.__setattr__(example, "texts", ["</script><b>", *example.texts[1:]])
    text = write_page(found, tmp_path / "page.html").read_text()
    assert "</script><b>" not in text
    held = text.partition("const found = ")[2].partition(";\n")[0]
    assert json.loads(held)["examples"][0]["texts"][0] == "</script><b>"
