"""Pictures of what a recording shows: text, images, layers over positions, and graphs, tinted by activation.

from sma import plots
plots.draw_text(recording, text).savefig("text.png")
"""

from sma.activation_map import ActivationMap
from sma.plots.figures import draw_graph, draw_images, draw_layers, draw_text
from sma.plots.html import legend_html, text_html, tint

__all__ = [
    "ActivationMap",
    "draw_graph",
    "draw_images",
    "draw_layers",
    "draw_text",
    "legend_html",
    "text_html",
    "tint",
]
