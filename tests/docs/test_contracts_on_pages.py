"""The contract suites that pages show pass for the parts that they show."""

import importlib
import re
import sys
import tempfile
from pathlib import Path

import pytest
from doc_pages import PAGES, blocks

import sma.spec.registry


def suites():
    """The classes of all files test_*.py on pages, without leaving kinds or modules behind."""
    before, path = dict(sma.spec.registry._registered), list(sys.path)
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        sys.path.insert(0, folder)
        titled = [block for page in PAGES for block in blocks(page) if re.search(r"=\w+\.py$", block.mark)]
        for block in titled:
            Path(folder, block.title).write_text(block.content, encoding="utf-8")
        importlib.invalidate_caches()
        for name in (Path(block.title).stem for block in titled if block.title.startswith("test_")):
            module = importlib.import_module(name)
            found |= {key: value for key, value in vars(module).items() if key.startswith("Test")}
        for block in titled:
            sys.modules.pop(Path(block.title).stem, None)
    sys.path[:] = path
    sma.spec.registry._registered.clear()
    sma.spec.registry._registered.update(before)
    return found


globals().update(suites())


@pytest.mark.parametrize(
    "name", ["TestPrototypeRouter", "TestRowMean", "TestLeakySum", "TestRounded", "TestHighway"]
)
def test_the_suite_is_here(name):
    assert issubclass(globals()[name], sma.testing.contract.Contract)
