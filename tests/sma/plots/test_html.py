"""The colours of activation, and text tinted by it as HTML."""

import re

import pytest
import torch

from sma.activation_map import ActivationMap
from sma.plots.html import legend_html, text_html, ticks, tint


@pytest.mark.parametrize(
    ("share", "color"), [(0, "#ffffff"), (1, "#37ac97"), (2, "#37ac97"), (0.5, "#a7e0d3"), (0.125, "#ecf8f6")]
)
def test_tints(share, color):
    assert tint(share) == color


@pytest.mark.parametrize("texts", ["a<\n d", ["to", "k&", "e\n", "", "ns"]])
def test_html_says_of_every_character_what_it_activated(texts):
    active = torch.tensor([[0, 0, 0], [1, 0, 1], [1, 0, 1], [1, 1, 1], [0, 1, 0]]).bool()
    page = text_html(ActivationMap(active, ("a", "b", "c")), texts)
    runs = re.findall(r'<span style="background:(.{7})" title="(.*?)">(.*?)</span>', page, re.DOTALL)
    tinted = "".join(texts[1:3]).replace("&", "&amp;").replace("<", "&lt;").replace("\n", "\u21b5\n")
    expected = [(tint(2 / 3), "a; c", tinted), (tint(1), "a; b; c", texts[3]), (tint(1 / 3), "b", texts[4])]
    assert runs == expected
    assert f">{texts[0]}<span" in page


@pytest.mark.parametrize(("highest", "shown"), [(1, [0, 1]), (3, [0, 1, 2, 3]), (20, list(range(0, 21, 2)))])
def test_a_legend_shows_at_most_eleven_tints(highest, shown):
    assert ticks(highest) == shown
    found = re.findall(r"background:(.{7})\">(\d+)<", legend_html(highest))
    assert found == [(tint(n / highest), str(n)) for n in shown]
