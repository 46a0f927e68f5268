"""The built site: nothing is missing, and every link leads somewhere."""

from functools import cache
from html.parser import HTMLParser
from urllib.parse import unquote, urldefrag

import pytest
from site_pages.kinds import anchor, families

from sma.spec.registry import kinds
from sma.training.config import TrainSpec


class Page(HTMLParser):
    """What a page links to, and the anchors that it has."""

    def __init__(self, text):
        super().__init__()
        self.links, self.anchors, self.names = [], set(), set()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.names.add(tag)
        self.anchors.update(values[key] for key in ("id", "name") if values.get(key))
        self.links += [values[key] for key in ("href", "src") if values.get(key)]


@cache
def parsed(path):
    return Page(path.read_text(encoding="utf-8"))


def test_every_link_leads_to_a_file_and_a_place_in_it(site):
    broken = []
    for path in site.rglob("*.html"):
        for link in parsed(path).links:
            if "://" in link or link.startswith(("mailto:", "data:")):
                continue
            name, place = urldefrag(link)
            target = (path.parent / unquote(name.partition("?")[0])).resolve() if name else path
            target = target / "index.html" if target.is_dir() else target
            missing = not target.is_file()
            if missing or (place and target.suffix == ".html" and place not in parsed(target).anchors):
                broken.append(f"{path.relative_to(site)}: {link}")
    assert not broken


def test_pages_need_no_network(site):
    for path in site.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        assert 'src="http' not in text, path
        assert 'rel="stylesheet" type="text/css" href="http' not in text, path


FAMILIES = sorted(set(families()) - {TrainSpec.__name__})


@pytest.mark.parametrize("family", FAMILIES)
def test_every_kind_has_its_place_with_all_fields(site, family):
    path = site / "reference" / ("tasks.html" if family == "TaskSpec" else "kinds.html")
    text = path.read_text(encoding="utf-8")
    for kind, spec in kinds(families()[family]).items():
        if not spec.__module__.startswith("sma."):
            continue  # of a test
        start = text.index(f'id="{anchor(spec)}"')
        section = text[start : text.find('id="kind-', start + 10)]
        assert kind in section
        for name in spec.model_fields:
            assert name == "kind" or f'<span class="pre">{name}</span>' in section, f"{kind}: {name}"


@pytest.mark.parametrize(
    "package",
    [
        "sma",
        "sma.modules",
        "sma.architectures",
        "sma.decoding",
        "sma.training",
        "sma.testing",
        "sma.transformers",
    ],
)
def test_every_public_name_is_in_the_reference(site, package):
    api = parsed(site / "reference" / "api" / f"{package.replace('.', '_')}.html").anchors
    kind_names = {spec.__name__ for family in families().values() for spec in kinds(family).values()}
    module = __import__(package, fromlist=["__all__"])
    for name in module.__all__:
        thing = getattr(module, name)
        if isinstance(thing, type) and name not in kind_names:
            assert f"{package}.{thing.__name__}" in api, name


def test_formulas_are_drawn_by_the_browser(site):
    page = parsed(site / "reference" / "api" / "sma_modules.html")
    assert {"math", "mi", "msub"} <= page.names
