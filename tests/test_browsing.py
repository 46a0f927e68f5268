"""The browser of the tests notices what is wrong with a page."""

import pytest

PAGE = "<!doctype html><meta name=viewport content='width=device-width'><link rel=icon href='data:,'><body>"


@pytest.fixture
def write(tmp_path):
    def page(body):
        path = tmp_path / "page.html"
        path.write_text(PAGE + body)
        return path

    return page


def test_a_good_page_passes(browser, write):
    path = write("<h1>Fine</h1><div style='overflow-x: auto'><div style='width: 3000px'>wide</div></div>")
    browser.check(path)
    assert browser.visit(path, lambda page: page.inner_text("h1"), width=380) == "Fine"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("<div style='width: 500px'>much too wide</div>", "wider than 380 px: .*much too wide"),
        ("<div style='overflow: hidden'><p style='width: 500px'>cut</p></div>", "wider than 380 px: .*cut"),
        ("<script>console.error('broken')</script>", "console: broken"),
        ("<script>undefined.x</script>", "error: .*undefined"),
        ("<img src='http://localhost:9/a.png'>", "request: http://localhost:9/a.png"),
    ],
)
def test_a_bad_page_fails(browser, write, body, message):
    with pytest.raises(AssertionError, match=message):
        browser.check(write(body))


def test_light_and_dark(browser, write):
    path = write(
        "<style>@media (prefers-color-scheme: dark) { h1 { color: rgb(1, 2, 3) } }</style><h1>h</h1>"
    )
    color = "getComputedStyle(document.querySelector('h1')).color"
    found = [browser.visit(path, lambda page: page.evaluate(color), dark=dark) for dark in (False, True)]
    assert [each == "rgb(1, 2, 3)" for each in found] == [False, True]
