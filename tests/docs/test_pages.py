"""Every block of code on every page runs, in the order of the page."""

import pkgutil
import re
import sys

import datasets
import pytest
from doc_pages import PAGES, ROOT, Runner, blocks, check, identity
from markdown_it import MarkdownIt

import sma.spec.registry
from sma.training import imported


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder, from which modules can be imported; kinds that are registered there go with it."""
    before, modules = dict(sma.spec.registry._registered), set(sys.modules)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SMA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(imported, "_names", [])
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    yield tmp_path
    sma.spec.registry._registered.clear()
    sma.spec.registry._registered.update(before)
    for name in set(sys.modules) - modules:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def texts(path):
    """Some text files to learn from."""
    (path / "texts").mkdir()
    for number in range(12):
        (path / "texts" / f"{number}.txt").write_text(f"This is the text of number {number}. " * 9)


def dataset(path):
    """What Hugging Face's datasets has saved."""
    rows = {"text": [f"{i} rows" for i in range(20)], "label": [i % 2 for i in range(20)]}
    datasets.DatasetDict({"train": datasets.Dataset.from_dict(rows)}).save_to_disk(path / "folder")


@pytest.mark.parametrize("path", [path for path in PAGES if list(blocks(path))], ids=identity)
def test_the_page_runs(path, folder):
    texts(folder)
    if path.name == "data.md":
        dataset(folder)
    runner = Runner(path)
    for block in blocks(path):
        runner.run(block)
    if path.name == "data.md":
        assert len(list((folder / "runs").glob("*/report.html"))) >= 9


@pytest.mark.parametrize("path", PAGES, ids=identity)
def test_code_stands_in_fences(path):
    """Since a fence says how its code is tested, which indented code does not."""
    tokens = MarkdownIt("commonmark").parse(path.read_text(encoding="utf-8"))
    assert not [token.content for token in tokens if token.type == "code_block"]


def slugs(path):
    """The anchors of a page's headings, as the site and as hosts of repositories make them."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", [path for path in PAGES if path.parent == ROOT], ids=identity)
def test_places_that_pages_outside_of_the_site_link_to_exist(path):
    links = re.findall(r"\]\(([^):#]+\.md)#([^)]+)\)", path.read_text(encoding="utf-8"))
    assert not [link for link in links if link[1] not in slugs(path.parent / link[0])]


@pytest.mark.parametrize("path", PAGES, ids=identity)
def test_files_and_modules_that_the_page_names_exist(path):
    text = re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    links = re.findall(r"\]\(([^)#]+)", text)
    missing = [link for link in links if "://" not in link and not (path.parent / link).exists()]
    named = re.findall(r"`([\w./-]+)`", text)
    folders = tuple(f"{each.name}/" for each in ROOT.iterdir() if each.is_dir() and each.name[0] not in ".b")
    folders = (*folders, "benchmarks/")
    missing += [name for name in named if name.startswith(folders) and not (ROOT / name).exists()]
    for name in named:
        if re.fullmatch(r"sma(\.\w+)+", name) and name != "sma.specs":  # the group of entry points
            try:
                pkgutil.resolve_name(name)
            except (ImportError, AttributeError):
                missing.append(name)
    assert not missing


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("sma train --speck x", "no option --speck"),
        ("pip install .[all,nothing]", "nothing"),
        ("make nothing", "nothing"),
    ],
)
def test_a_wrong_command_line_is_noticed(line, message):
    with pytest.raises(AssertionError, match=message):
        check(line.split())
