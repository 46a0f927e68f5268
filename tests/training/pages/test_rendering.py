"""Filled templates: what is escaped, and where templates are looked for."""

import base64
import json

import jinja2
import pytest
from markupsafe import Markup
from matplotlib.figure import Figure

from sma.training.figures import to_png
from sma.training.pages.rendering import render
from sma.training.tasks.section import Image

EMPTY = {
    **dict.fromkeys(("title", "task", "stopped", "n_units", "unit", "spec"), "x"),
    **dict.fromkeys(("cards", "comparison", "sections", "parts_of_model"), ()),
    "facts": {},
}
"""The values of a report without content."""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package with a template of its own, as another folder of the project has one."""
    folder = tmp_path / "pages_of_a_test"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "own.html.j2").write_text(
        '{% extends "base.html.j2" %}{% import "parts.html.j2" as parts %}{% block content %}'
        '{{ parts.table(["name", "n"], [(text, 3)], numbers=1) }}<img src="{{ png | data_uri }}">'
        "{% endblock %}"
        "{% block script %}<script>const data = {{ data | tojson }};</script>{% endblock %}"
    )
    monkeypatch.syspath_prepend(tmp_path)
    return folder.name


def test_a_template_of_another_package_is_filled(package):
    page = render(package, "own.html.j2", title="T", text="<b>&", png=b"\x89PNG", data=["</script>"])
    assert '<td>&lt;b&gt;&amp;</td><td class="number">3</td>' in page
    assert f"data:image/png;base64,{base64.b64encode(bytes([0x89]) + b'PNG').decode()}" in page
    held = page.partition("const data = ")[2].partition(";</script>")[0]
    assert json.loads(held) == ["</script>"]
    assert "--paper" in page  # the style is inside


@pytest.mark.parametrize(("size", "is_wide"), [((8, 3.6), True), ((5, 4.6), False)])
def test_wide_figures_scroll_on_small_screens(size, is_wide):
    png = to_png(Figure(figsize=size))
    page = render("sma.training.report", "report.html.j2", **EMPTY, curves=[Image("a.png", "caption", png)])
    assert ('<figure class="wide"' in page) is is_wide


def test_markup_is_html_already(package):
    page = render(package, "own.html.j2", title="T", text=Markup("<b>bold</b>"), png=b"", data=0)
    assert "<td><b>bold</b></td>" in page


def test_what_is_not_given_is_not_left_out(package):
    with pytest.raises(jinja2.UndefinedError, match="'text' is undefined"):
        render(package, "own.html.j2", title="T", png=b"", data=0)
    with pytest.raises(jinja2.TemplateNotFound, match="missing"):
        render(package, "missing.html.j2")
