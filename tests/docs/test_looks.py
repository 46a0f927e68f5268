"""The site in a browser: it fits small and large windows in both colours, and its search finds things."""

import pytest

PAGES = [
    "index",
    "architectures",
    "performance",
    "reference/kinds",
    "reference/presets",
    "reference/api/sma_modules",
]

CLOSED_DRAWERS = """() => document.querySelectorAll('.sidebar-drawer, .toc-drawer').forEach(drawer => {
  const box = drawer.getBoundingClientRect();
  if (box.right <= 0 || box.left >= innerWidth) drawer.remove();
})"""
"""On small screens lists of pages wait outside of the window."""


@pytest.mark.parametrize("name", PAGES)
def test_pages_fit(site, browser, name):
    browser.check(site / f"{name}.html", lambda page: page.evaluate(CLOSED_DRAWERS))


def test_search_finds_a_kind(site, browser):
    def search(page):
        page.wait_for_selector("#search-results ul.search li a")
        return [
            link.get_attribute("href") for link in page.query_selector_all("#search-results ul.search li a")
        ]

    found = browser.visit(site / "search.html", search, anchor="?q=latent_configurator")
    assert any(link.startswith("reference/kinds.html") for link in found), found


def test_colours_follow_the_reader(site, browser):
    colour = "getComputedStyle(document.body).backgroundColor"
    light, dark = (
        browser.visit(site / "index.html", lambda page: page.evaluate(colour), dark=dark)
        for dark in (False, True)
    )
    assert light == "rgb(255, 255, 255)"
    assert max(int(part) for part in dark[4:-1].split(",")) < 64
