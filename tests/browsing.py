"""A browser without a window, in which tests look at HTML pages; the fixture `browser` starts it once.

    def test_a_page(browser, tmp_path):
        browser.check(tmp_path / "page.html")                        # sizes, colours, errors, requests
        text = browser.visit(tmp_path / "page.html", lambda page: page.inner_text("h1"), width=380)

`visit` and `check` run what they are given in the browser's thread: Playwright keeps an event loop there,
which would be in the way of other tests.
"""

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

NAMES = ("chromium", "chromium-browser", "google-chrome")
WIDTHS = (380, 1280)
SECONDS = 20

WIDER = """() => {
  const scrolls = e => e && (/auto|scroll/.test(getComputedStyle(e).overflowX) || scrolls(e.parentElement));
  const wide = [...document.body.querySelectorAll('*')].filter(e => {
    const box = e.getBoundingClientRect();
    return box.width && (box.right > innerWidth + 1 || box.left < -1) && !scrolls(e.parentElement);
  });
  const root = document.documentElement;
  if (root.scrollWidth > root.clientWidth) wide.push(root);
  return wide.map(e => `${e.tagName} .${e.className} ${e.textContent.trim().slice(0, 40)}`);
}"""
"""The elements that reach out of the window, those apart that a reader can scroll to inside another one."""


def executable() -> str | None:
    """The path of an installed Chromium."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """A running Chromium.

    Args:
        path: of its program.
    """

    def __init__(self, path: str) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="browser")
        self._thread.submit(self._start, path).result(60)

    def _start(self, path: str) -> None:
        from playwright.sync_api import sync_playwright

        self._playwright = sync_playwright().start()
        options = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        self._chromium = self._playwright.chromium.launch(
            executable_path=path, args=options, timeout=SECONDS * 1000
        )

    def close(self) -> None:
        """End it."""
        self._thread.submit(lambda: (self._chromium.close(), self._playwright.stop())).result(SECONDS)
        self._thread.shutdown()

    def visit(
        self,
        path: Path,
        act: Callable[[Any], T],
        *,
        width: int = 1280,
        height: int = 900,
        dark: bool = False,
        anchor: str = "",
    ) -> T:
        """Open an HTML file, and do something there.

        Fails if the page, or what is done, writes an error to the console, or asks for anything but files.

        Args:
            path: of the file.
            act: is called with Playwright's page; an assertion in it fails the test.
            width: of the window, in pixels.
            height: of the window.
            dark: whether the reader prefers dark pages.
            anchor: as in `#section` or `?query`, added to the address.

        Returns:
            What `act` returns.
        """
        return self._thread.submit(self._visit, path, act, (width, height), dark, anchor).result(3 * SECONDS)

    def check(self, path: Path, act: Callable[[Any], object] | None = None, *, anchor: str = "") -> None:
        """See at 380 and 1,280 px, light and dark, that a page fits, and does nothing that `visit` forbids.

        Args:
            path: of the file.
            act: done before the page is measured, such as opening what is folded.
            anchor: see `visit`.
        """

        def fits(page: Any) -> None:
            if act is not None:
                act(page)
            wide = page.evaluate(WIDER)
            assert not wide, f"wider than {page.viewport_size['width']} px: {wide[:5]}"

        for width in WIDTHS:
            for dark in (False, True):
                self.visit(path, fits, width=width, dark=dark, anchor=anchor)

    def _visit(
        self, path: Path, act: Callable[[Any], T], size: tuple[int, int], dark: bool, anchor: str
    ) -> T:
        context = self._chromium.new_context(
            viewport={"width": size[0], "height": size[1]}, color_scheme="dark" if dark else "light"
        )
        try:
            context.set_default_timeout(SECONDS * 1000)
            page = context.new_page()
            wrong: list[str] = []
            page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
            page.on("console", lambda said: said.type == "error" and wrong.append(f"console: {said.text}"))
            page.on("request", lambda asked: _local(asked.url) or wrong.append(f"request: {asked.url}"))
            page.goto(path.resolve().as_uri() + anchor)
            result = act(page)
            assert not wrong, f"{path.name}: {'; '.join(wrong)}"
            return result
        finally:
            context.close()


def _local(url: str) -> bool:
    return url.startswith(("file:", "data:", "blob:", "about:"))
