"""Pairs of documentation pages: links are read, pairs are balanced, pages are in one split."""

from collections import Counter

import pytest
import torch

from sma.architectures import seqboat
from sma.training.tasks.running import check_fit
from sma.training.tasks.standins.python_docs import FOLDER, PythonDocsSpec, deal, read_links, unlinked

PAGE = '<a class="reference internal" href="about.html">x</a><div class="body" role="main">{}</div>'
PAGE += (
    '<div class="sphinxsidebar" role="navigation"><a class="reference internal" href="p0.html">next</a></div>'
)


def link(target):
    return f'<a class="reference internal" href="{target}"><span>it</span></a>'


def write(root, name, body, text="some text"):
    for path, content in ((f"{name}.html", PAGE.format(body)), (f"_sources/{name}.rst.txt", text)):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(content)


@pytest.fixture
def docs(tmp_path):
    """Sixty pages, each linked to the next seven."""
    for i in range(60):
        body = "".join(link(f"../library/p{(i + j) % 60}.html#there") for j in range(1, 8))
        write(tmp_path, f"library/p{i}", body, f"page {i}")
    write(tmp_path, "library/index", "".join(link(f"p{i}.html") for i in range(60)))
    return tmp_path


def test_links_are_those_of_the_text(tmp_path):
    write(tmp_path, "a", link("b/c.html#part") + link("a.html") + link("https://x.org/b/c.html") + link("#a"))
    write(tmp_path, "b/c", link("../a.html") + link("d.html") + link("gone.html"))
    write(tmp_path, "b/d", "")
    names = ("a", "b/c", "b/d")
    assert read_links(tmp_path, names) == {("a", "b/c"), ("b/c", "a"), ("b/c", "b/d")}


def test_pages_are_in_one_split_and_pairs_are_balanced(docs):
    task = PythonDocsSpec(folder=str(docs)).build()
    pages = {}
    for split, pairs in task.splits.items():
        assert pairs.labels.mean() == pytest.approx(0.5, abs=0.1)
        pages[split] = {
            bytes(half.row(i).tolist()) for half in (pairs.first, pairs.second) for i in range(len(pairs))
        }
    assert not pages["training"] & pages["test"]
    assert not pages["validation"] & (pages["training"] | pages["test"])
    assert b"some text" not in set.union(*pages.values())  # the table of contents
    model = seqboat(d_model=8, n_layers=1, d_qk=4, window=4, d_state=2, vocab_size=256, n_classes=2)
    head = model.head.model_copy(update={"n_documents": 2})
    check_fit(model.model_copy(update={"head": head}).build(), task)


def test_unlinked_pairs_have_the_same_pages(docs):
    links = read_links(docs, [f"library/p{i}" for i in range(60)])
    linked = sorted(links)
    found = unlinked(linked, links)
    assert found == unlinked(linked, links)
    assert not set(found) & links
    assert not {(b, a) for a, b in found} & links
    assert len(found) == len(linked)
    assert Counter(a for a, _ in found) == Counter(a for a, _ in linked)
    assert Counter(b for _, b in found) == Counter(b for _, b in linked)


def test_where_every_page_links_to_every_other_no_pair_is_left():
    links = {(a, b) for a in "abc" for b in "abc" if a != b}
    assert unlinked(sorted(links), links) == []


def test_the_split_of_a_page_depends_on_the_names_alone():
    names = [f"p{i}" for i in range(100)]
    assert {split: len(pages) for split, pages in deal(names).items()} == {
        "test": 20,
        "validation": 15,
        "training": 65,
    }
    assert deal(names) == deal(list(reversed(names)))


def test_what_is_missing(docs, tmp_path):
    with pytest.raises(ValueError, match=r"nowhere is missing; .*apt-get install python3\.11-doc"):
        PythonDocsSpec(folder=str(tmp_path / "nowhere")).build()
    (docs / "library" / "p3.html").write_text("<html>")
    with pytest.raises(ValueError, match=r"p3.html is not a page made by Sphinx"):
        PythonDocsSpec(folder=str(docs)).build()
    (docs / "library" / "p3.html").unlink()
    with pytest.raises(ValueError, match=r"p3.html is missing; install python3.11-doc anew"):
        PythonDocsSpec(folder=str(docs)).build()


@pytest.mark.skipif(not FOLDER.exists(), reason="apt-get install python3.11-doc")
def test_the_package():
    task = PythonDocsSpec().build()
    assert all(len(pairs) > 150 for pairs in task.splits.values())
    batch = task.training_batch(2, torch.Generator().manual_seed(0))
    assert all(part.shape[1] <= 2000 for part in batch.inputs)
