"""The picture of the idea: elements, decisions, compacted lists, and results in their places.

    python docs/site_pages/picture.py

writes docs/static/idea.svg.
"""

from collections.abc import Iterator
from pathlib import Path
from xml.sax.saxutils import escape

PATH = Path(__file__).parents[1] / "static" / "idea.svg"

_WORDS = ("the", "dog", "that", "we", "saw", "was", "old", "and", "it", "slept")
_ROUTED = {"attention": (1, 4, 5, 8, 9), "feed-forward": (1, 2, 6, 9)}
"""The elements that activate each sub-module."""
_COLOURS = {"attention": "#1f6feb", "feed-forward": "#c2570c"}
_CELL, _LEFT, _WIDTH, _HEIGHT = 66, 150, 840, 430
_ROWS = {"x": 40, "router": 108, "list": 200, "module": 268, "y": 372}


def drawn() -> str:
    """The picture as SVG."""
    body = "\n".join([*_elements(), *_decisions(), *_lists(), *_results()])
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img"\n'
        f'     font-family="system-ui, sans-serif" font-size="14">\n'
        f"<title>Every element decides which sub-modules it activates, and skips the rest</title>\n"
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" rx="10" fill="#ffffff"/>\n{body}\n</svg>\n'
    )


def _text(x: float, y: float, words: str, *, colour: str = "#24292f", anchor: str = "middle") -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}" fill="{colour}">{escape(words)}</text>'


def _box(x: float, y: float, words: str, *, colour: str = "#57606a", fill: str = "#f6f8fa") -> str:
    cell = f'<rect x="{x - 28}" y="{y - 15}" width="56" height="30" rx="5" fill="{fill}" stroke="{colour}"/>'
    return f"{cell}\n{_text(x, y + 5, words)}"


def _line(x: float, y: float, to_x: float, to_y: float, colour: str) -> str:
    middle = (y + to_y) / 2
    curve = f"M{x} {y} C{x} {middle} {to_x} {middle} {to_x} {to_y}"
    return f'<path d="{curve}" fill="none" stroke="{colour}" stroke-opacity="0.55"/>'


def _place(element: int) -> int:
    return _LEFT + 28 + _CELL * element


def _slots(name: str) -> list[int]:
    """Where the compacted elements of a sub-module stand."""
    first = 0 if name == "attention" else len(_ROUTED["attention"]) + 0.6
    return [round(_LEFT + 28 + 62 * (first + slot)) for slot in range(len(_ROUTED[name]))]


def _elements() -> Iterator[str]:
    yield _text(20, _ROWS["x"] + 5, "elements", anchor="start")
    for element, word in enumerate(_WORDS):
        yield _box(_place(element), _ROWS["x"], word)


def _decisions() -> Iterator[str]:
    y = _ROWS["router"]
    yield _text(20, y + 5, "router decides", anchor="start")
    for element in range(len(_WORDS)):
        for offset, (name, active) in zip((-11, 11), _ROUTED.items(), strict=True):
            colour = _COLOURS[name]
            fill = colour if element in active else "#ffffff"
            yield f'<circle cx="{_place(element) + offset}" cy="{y}" r="7" fill="{fill}" stroke="{colour}"/>'


def _lists() -> Iterator[str]:
    yield _text(20, _ROWS["list"] + 5, "compacted", anchor="start")
    yield _text(20, _ROWS["module"] + 5, "sub-modules run", anchor="start")
    for offset, (name, active) in zip((-11, 11), _ROUTED.items(), strict=True):
        colour, slots = _COLOURS[name], _slots(name)
        for element, slot in zip(active, slots, strict=True):
            yield _line(_place(element) + offset, _ROWS["router"] + 8, slot, _ROWS["list"] - 16, colour)
            yield _box(slot, _ROWS["list"], _WORDS[element], colour=colour)
        width = slots[-1] - slots[0] + 56
        top = _ROWS["module"] - 22
        yield f'<rect x="{slots[0] - 28}" y="{top}" width="{width}" height="44" rx="6" fill="{colour}"/>'
        yield _text((slots[0] + slots[-1]) / 2, top + 27, name, colour="#ffffff")


def _results() -> Iterator[str]:
    y = _ROWS["y"]
    yield _text(20, y - 2, "weighted by", anchor="start")
    yield _text(20, y + 16, "confidence", anchor="start")
    for offset, (name, active) in zip((-8, 8), _ROUTED.items(), strict=True):
        for element, slot in zip(active, _slots(name), strict=True):
            yield _line(slot, _ROWS["module"] + 22, _place(element) + offset, y - 16, _COLOURS[name])
    for element in range(len(_WORDS)):
        some = any(element in active for active in _ROUTED.values())
        yield _box(
            _place(element), y, f"y{element}" if some else "0", colour="#57606a" if some else "#d0d7de"
        )
    yield _text(
        _LEFT,
        y + 42,
        "An element that activates nothing contributes exactly zero and costs nothing.",
        anchor="start",
    )


if __name__ == "__main__":
    PATH.write_text(drawn(), encoding="utf-8")
