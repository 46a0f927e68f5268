"""Pictures show what was recorded, and refuse what does not fit it."""

import inspect

import pytest
import torch
from torch import nn

from sma import SMA, Edges, record
from sma.plots import ActivationMap, draw_graph, draw_images, draw_layers, draw_text, text_html, tint
from sma.testing import CausalMean, InputRouter

D, N = 4, 6


@pytest.fixture
def recording():
    """Two layers with 1 and 2 sub-modules; the second of two rows has 4 elements."""
    torch.manual_seed(0)
    layers = nn.Sequential(*(SMA(InputRouter(m), [CausalMean(D) for _ in range(m)]) for m in (1, 2)))
    x, mask = torch.randn(2, N, D), torch.tensor([[True] * N, [True] * 4 + [False] * 2])
    with record(layers) as recording:
        layers[1](layers[0](x, mask), mask)
    return recording


def colors(axes):
    """The colours of the cells that a text's figure has, by column and line."""
    return {
        (patch.get_x(), patch.get_y()): tuple(patch.get_facecolor()[:3])
        for patch in axes.patches
        if patch.get_width() == 1
    }


def rgb(share):
    value = tint(share)
    return tuple(int(value[i : i + 2], 16) / 255 for i in (1, 3, 5))


def test_a_map_has_the_real_elements_of_a_row(recording):
    for row, n in ((0, N), (1, 4), (-1, 4)):
        found = ActivationMap.of(recording, row)
        assert found.names == ("layer 1, CausalMean", "layer 2, CausalMean 1", "layer 2, CausalMean 2")
        expected = [layer.routing.active[row, t].tolist() for t in range(n) for layer in recording.layers]
        assert [a + b for a, b in zip(expected[::2], expected[1::2], strict=True)] == found.active.tolist()
        assert found.counts.tolist() == [
            sum(a + b) for a, b in zip(expected[::2], expected[1::2], strict=True)
        ]
    assert found[[1, 3]].active.tolist() == [found.active[1].tolist(), found.active[3].tolist()]


def test_text_is_drawn_where_it_stands_and_wrapped():
    found = ActivationMap(torch.tensor([1, 0, 1, 1, 0, 1]).bool()[:, None], ("layer 1",))
    axes = draw_text(found, "ab\ncde", columns=2).axes[0]
    strong = rgb(1)
    assert colors(axes) == dict.fromkeys([(0, 0), (2, 0), (0, 1), (0, 2)], strong)  # a, line break, c, e


def test_images_are_tinted_by_pixel(recording):
    images = torch.rand(1, 2, 3)
    figure = draw_images(recording, images, titles=["noise"])
    shown = [image.get_array() for axes in figure.axes for image in axes.get_images()]
    torch.testing.assert_close(torch.as_tensor(shown[0].data), images[0])
    assert shown[1].tolist() == ActivationMap.of(recording).counts.view(2, 3).tolist()
    draw_images([ActivationMap.of(recording)] * 3, torch.rand(3, 2, 3, 3), columns=2)
    draw_images([], torch.rand(0, 2, 3))


@pytest.mark.parametrize("row", [0, 1])
def test_layers_are_drawn_over_positions(recording, row):
    axes = draw_layers(recording, row=row).axes[0]
    found = ActivationMap.of(recording, row)
    bands = torch.as_tensor(axes.get_images()[0].get_array().data).unflatten(0, (3, -1))
    assert (bands == found.active.T[:, None]).all()
    labels = [label.get_text() for label in axes.get_yticklabels()]
    rates = found.active.float().mean(0).tolist()
    assert labels == [f"{name}: {rate:.0%}" for name, rate in zip(found.names, rates, strict=True)]


@pytest.mark.parametrize("positions", [None, torch.rand(4, 2)])
def test_nodes_are_tinted(recording, positions):
    edges = Edges(torch.tensor([[0, 1, 2], [1, 2, 0]]))
    axes = draw_graph(recording, edges, row=1, positions=positions).axes[0]
    lines, nodes = axes.collections[:2]
    assert len(lines.get_segments()) == 3
    counts = ActivationMap.of(recording, 1).counts.tolist()
    assert [tuple(color[:3]) for color in nodes.get_facecolors()] == [rgb(count / 3) for count in counts]
    if positions is not None:
        torch.testing.assert_close(torch.as_tensor(nodes.get_offsets().data), positions.double())


def test_nodes_are_labelled(recording):
    labels = ["a", "b", "c", "d"]
    positions = torch.rand(4, 2)
    axes = draw_graph(recording, torch.tensor([[0], [1]]), row=1, labels=labels, positions=positions).axes[0]
    assert [text.get_text() for text in axes.texts] == labels
    torch.testing.assert_close(torch.tensor([text.xy for text in axes.texts]), positions)


def test_nothing_to_draw():
    nothing = ActivationMap.none(0)
    assert text_html(nothing, "").endswith("></pre>")
    for figure in (
        draw_text(nothing, ""),
        draw_layers(nothing),
        draw_layers(ActivationMap.none(3)),
        draw_graph(nothing, torch.zeros(2, 0, dtype=torch.long)),
        draw_graph(ActivationMap.none(2), torch.tensor([[0], [1]])),
    ):
        figure.canvas.draw()


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda r: draw_text(r, "abc"), "3 texts, but 6 elements"),
        (lambda r: text_html(r, "abcdef", row=1), "6 texts, but 4 elements"),
        (lambda r: draw_layers(r, row=2), "row=2, but the recording has 2 rows"),
        (lambda r: draw_images(r, torch.rand(1, 2, 2)), "4 pixels, but 6 elements"),
        (lambda r: draw_images(r, torch.rand(2, 6)), r"images must be \(n, H, W\)"),
        (lambda r: draw_images(r, torch.rand(1, 3, 2, 5)), r"\(1, 3, 2, 5\); .*images.permute\(0, 2, 3, 1\)"),
        (lambda r: draw_images(r, torch.rand(1, 1, 3, 2)), r"leave out the channel: images\[:, 0\]"),
        (lambda r: draw_images(r, torch.rand(1, 2, 3), titles=[]), "1 images, but 0 titles"),
        (lambda r: draw_images([ActivationMap.of(r)], torch.rand(2, 2, 3)), "2 images, but 1 activations"),
        (lambda r: draw_graph(r, torch.tensor([[0], [6]])), "nodes 0 to 6, but there are 6"),
        (lambda r: draw_graph(r, torch.zeros(3, 1).long()), r"edges must be \(2, E\)"),
        (
            lambda r: draw_graph(r, torch.tensor([[0], [1]]), positions=torch.rand(5, 2)),
            r"positions must be \(6, 2\)",
        ),
        (lambda r: draw_graph(r, torch.tensor([[0], [1]]), labels=["a"]), "1 labels, but 6 elements"),
        (lambda r: ActivationMap(torch.zeros(3, 2), ("a", "b")), "active must be a bool"),
        (lambda r: ActivationMap(torch.zeros(3, 2).bool(), ("a",)), "column"),
    ],
)
def test_what_does_not_fit_is_refused(recording, draw, message):
    with pytest.raises(ValueError, match=message):
        draw(recording)


@pytest.mark.parametrize("draw", [text_html, draw_text])
@pytest.mark.parametrize(
    ("texts", "shown"), [(3, "3"), ([1, 2, 3, 4, 5, 6], r"\[1, 2, 3"), (["a", None], "None")]
)
def test_texts_are_strings(recording, draw, texts, shown):
    with pytest.raises(TypeError, match=rf"texts must be a string, or a list of strings, got .*{shown}"):
        draw(recording, texts)


@pytest.mark.parametrize("draw", [draw_graph, draw_images, draw_layers, draw_text, text_html])
def test_activations_come_first(draw):
    assert next(iter(inspect.signature(draw).parameters)) == "activations"


@pytest.mark.parametrize("draw", [draw_graph, draw_text, text_html])
def test_what_is_not_activations_is_named(recording, draw):
    with pytest.raises(TypeError, match=r"come first, must be a Recording or ActivationMap, got str"):
        draw("abcdef", recording)


def test_recordings_that_cannot_be_drawn():
    with record() as empty:
        pass
    with pytest.raises(ValueError, match="the recording is empty"):
        draw_layers(empty)
    layer = SMA(InputRouter(1), [CausalMean(D)])
    with record(layer) as twice:
        layer(torch.randn(1, 3, D))
        layer(torch.randn(1, 5, D))
    with pytest.raises(ValueError, match=r"masks of \(1, 3\), \(1, 5\)"):
        draw_layers(twice)
