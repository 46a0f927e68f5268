"""Formulas as MathML, which browsers draw themselves: pages need no network and no scripts."""

import re
from typing import Any

from docutils import nodes
from docutils.utils.math import latex2mathml

_SIZES = re.compile(r"\\(?:[bB]igg?[lr]?|textstyle)(?![A-Za-z])")
"""Commands that docutils does not know; parentheses grow with their content without them."""


def _inline(translator: Any, node: nodes.math) -> None:
    translator.body.append(_drawn(node.astext()))
    raise nodes.SkipNode


def _block(translator: Any, node: nodes.math_block) -> None:
    for formula in node.astext().split("\n\n"):
        drawn = _drawn(formula, as_block=True)
        translator.body.append(f'<div class="formula">{drawn}</div>\n')
    raise nodes.SkipNode


def _drawn(formula: str, *, as_block: bool = False) -> str:
    return latex2mathml.tex2mathml(_SIZES.sub("", formula), as_block=as_block)


def _leave(translator: Any, node: nodes.Element) -> None:
    """Nothing is left open."""


def setup(app: Any) -> dict[str, Any]:
    """Make it the renderer of formulas in HTML."""
    app.add_html_math_renderer("mathml", (_inline, _leave), (_block, _leave))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
