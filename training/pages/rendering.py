"""Filling the templates of pages: self-contained HTML, light and dark, from which no request goes out."""

import base64
import struct
from functools import cache

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

HERE = "sma.training.pages"


def render(package: str, template: str, **values: object) -> str:
    """A page: a template of a package, filled.

    A page extends `base.html.j2`, which brings the style, and may import `parts.html.j2`. Values are escaped,
    except `markupsafe.Markup`, which is HTML already. The filter `data_uri` turns the bytes of a PNG into
    what an `<img>` takes as its `src`, `tojson` a value into JSON that a `<script>` may hold.

    Args:
        package: dotted name of the package whose folder holds the template.
        template: its file name.
        **values: what it is filled with.

    Raises:
        jinja2.TemplateError: if there is no such template, or it uses a value that is not given.

    Example:
        >>> page = render("sma.training.pages", "base.html.j2", title="A < B")
        >>> "<title>A &lt; B</title>" in page
        True
    """
    return _environment(package).get_template(template).render(**values)


def part(name: str, *args: object, **kwargs: object) -> Markup:
    """A part of a page, as a macro of `parts.html.j2` makes it, to be put into another.

    Example:
        >>> print(part("table", ["name", "n"], [("A < B", 3)], numbers=1))
        <table>
        <tr><th>name</th><th class="number">n</th></tr>
        <tr><td>A &lt; B</td><td class="number">3</td></tr>
        </table>
    """
    module = _environment(HERE).get_template("parts.html.j2").module
    return Markup(str(getattr(module, name)(*args, **kwargs)).strip())


@cache
def _environment(package: str) -> Environment:
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(name, "") for name in dict.fromkeys((package, HERE))]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["data_uri"] = _data_uri
    environment.filters["is_wide"] = _is_wide
    return environment


def _data_uri(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _is_wide(png: bytes) -> bool:
    """Whether an image is much wider than high, as a plot is."""
    width, height = struct.unpack(">II", png[16:24])
    return width > 1.5 * height
