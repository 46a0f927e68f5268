"""Settings of the whole test run: threads, Hypothesis profiles, the cache; and the browser for pages."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

# Here, and not in pyproject.toml, so that for tests elsewhere `import sma` does not find tests/sma.
sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1]))

import pytest
import torch
from browsing import NAMES, Browser, executable
from hypothesis import settings

torch.set_num_threads(1)

settings.register_profile("dev", max_examples=20, deadline=None)
settings.register_profile("ci", max_examples=20, deadline=None, derandomize=True, print_blob=True)
settings.register_profile("thorough", max_examples=200, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if "CI" in os.environ else "dev"))


@pytest.fixture(scope="session", autouse=True)
def cache_of_the_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Prepared data go to a folder of the test run, also those of processes that a test starts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SMA_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A Chromium for the whole session; tests that need one are skipped where there is none."""
    pytest.importorskip("playwright", reason="playwright, which drives a browser, is not installed")
    path = executable()
    if path is None:
        pytest.skip(f"no browser is installed; looked for {', '.join(NAMES)}")
    started = Browser(path)
    yield started
    started.close()
