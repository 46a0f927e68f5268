"""The Markdown that the site makes from docstrings and the registry, against text written by hand."""

import xml.etree.ElementTree
from typing import Annotated, Literal

import pytest
import yaml
from pydantic import Field, TypeAdapter
from site_pages import picture
from site_pages.docstrings import restructured
from site_pages.filling import filled
from site_pages.kinds import families, meanings, takes
from site_pages.markdown import description
from site_pages.samples import sample

from sma import OneOf
from sma.architectures import LayerSpec, RouterSpec, SubModuleSpec
from sma.architectures.specs.attention import GAUSpec
from sma.spec.base import Fields
from sma.spec.registry import kinds


class Made(Fields):
    """A model for these tests."""

    size: Annotated[int, Field(ge=1, le=2**24)]
    share: Annotated[float, Field(gt=0, lt=1)] = 0.5
    name: Literal["a", "b"] | None = None
    routers: tuple[OneOf[RouterSpec], ...] = ()
    either: OneOf[LayerSpec | SubModuleSpec] = None


@pytest.mark.parametrize(
    ("field", "words"),
    [
        ("size", "integer from 1 to 2^24"),
        ("share", "number above 0, below 1"),
        ("name", "`a`, `b` or `null`"),
        ("routers", "list of [RouterSpec](#family-router)"),
        ("either", "[LayerSpec](#family-layer) or [SubModuleSpec](#family-submodule)"),
    ],
)
def test_fields_in_words(field, words):
    assert takes(Made, field) == words


def test_meanings_are_those_of_the_docstring():
    found = meanings(GAUSpec)
    assert found["d_qk"] == "width of queries and keys; even with rotary positions."
    assert list(found)[-1] == "output_dropout"
    assert meanings(None) == {}  # what a spec builds is not always told


@pytest.mark.parametrize("family", sorted(set(families()) - {"TrainSpec"}))
def test_every_kind_has_an_example_that_is_valid(family):
    for kind, spec in kinds(families()[family]).items():
        if spec.__module__.startswith("sma."):
            fields = yaml.safe_load(yaml.safe_dump(sample(spec)))
            assert fields["kind"] == kind
            assert TypeAdapter(OneOf[families()[family]]).validate_python(fields).kind == kind


def test_docstrings_become_restructured_text():
    text = """One.

    code = 1

$$ a = b,
   c $$

With $ x_t $ inside.

Args:
    first: what it is.

        More of it.

| file | what |
| --- | --- |
| *.png | pictures |"""
    assert "\n".join(line for line in restructured(text.splitlines()) if line.strip()) == (
        "One.\n::\n    code = 1\n.. math::\n   a = b,\n   c\nWith :math:`x_t` inside.\nArgs:\n"
        "    first: what it is.\n        More of it.\n.. list-table::\n   :header-rows: 1\n"
        "   * - file\n     - what\n   * - \\*.png\n     - pictures"
    )


def test_comments_are_filled_and_names_of_files_shown():
    text = filled("# A\n\n<!-- made: kinds NormSpec -->\n\n```yaml title=a.yaml\nkind: x\n```\n")
    assert "### layer_norm" in text
    assert "```{code-block} yaml\n:caption: a.yaml\n\nkind: x\n```" in text
    with pytest.raises(KeyError, match="unknown"):
        filled("<!-- made: unknown -->")


def test_the_picture_is_the_one_that_its_command_draws():
    assert picture.PATH.read_text(encoding="utf-8") == picture.drawn()
    xml.etree.ElementTree.fromstring(picture.drawn())


def test_descriptions_are_markdown():
    def documented():
        r"""A thing: $ x_t $ of \(\phi\).

        $$ a = b $$

        (https://arxiv.org/abs/1; see https://b.org/c.)

        Args:
            x: not here.
        """

    assert description(documented) == (
        "A thing: $x_t$ of $\\phi$.\n\n$$ a = b $$\n\n(<https://arxiv.org/abs/1>; see <https://b.org/c>.)"
    )
