"""The report on a graph shows what the model did on it."""

import re

import pytest
import torch
from torch import nn

import sma
from sma.training import TrainSpec
from sma.training.presets import run_values
from sma.training.tasks.graphs_section import SHOWN, graph_sections, read_nodes
from sma.training.tasks.node_graph import NodeGraph
from sma.training.train import train

PNG = b"\x89PNG\r\n\x1a\n"


def ring(n=12, sizes=None) -> NodeGraph:
    """Nodes in a ring, in turn of class even and odd, whose feature is their number."""
    nodes = torch.arange(n)
    following = (nodes + 1) % n
    edge_index = torch.cat((torch.stack((nodes, following)), torch.stack((following, nodes))), 1)
    return NodeGraph(
        nodes[:, None].float(),
        edge_index,
        nodes % 2,
        names=[f"node {i}" for i in range(n)],
        class_names=["even", "odd"],
        sizes=sizes,
    )


class Below(sma.Router):
    """Activates on nodes with a number below a bound."""

    def __init__(self, bound: int) -> None:
        super().__init__(1)
        self.bound = bound

    def forward(self, x, mask=None):
        active = sma.mask_padding(x[..., :1] < self.bound, mask)
        return sma.Routing(active, active.to(x))


class SaysEven(nn.Module):
    """Takes every node for even."""

    def __init__(self, bound: int) -> None:
        super().__init__()
        self.layer = sma.SMA(Below(bound), [sma.Pointwise(nn.Linear(1, 1))])

    def forward(self, data):
        y = self.layer(data.x[None])[0]
        return torch.cat((y.abs() + 1, -y.abs()), 1)


@pytest.mark.parametrize("sizes", [None, (2, 2)])
def test_the_table_counts_test_nodes_by_class(sizes):
    who, _ = graph_sections(ring(sizes=sizes), torch.arange(7), SaysEven(4))
    rows = re.findall(r"<td>(\w+)</td>" + r'<td class="number">([\d %]+)</td>' * 3, who.body)
    assert rows == [("even", "4", "100%", "50%"), ("odd", "3", "0%", "67%")]  # 0 to 6, active below 4


def test_a_small_graph_is_drawn_whole(drawn):
    _, where = graph_sections(ring(), torch.arange(6), SaysEven(4))
    assert [image.caption for image in where.images] == ["The whole graph"]
    ((edge_index, found, labels),) = drawn
    assert edge_index.shape == (2, 24)
    assert found.counts.tolist() == [1] * 4 + [0] * 8
    assert labels == [f"node {i}" for i in range(12)]


@pytest.mark.parametrize("sizes", [None, (2, 2)])
def test_of_a_large_graph_surroundings_are_drawn(drawn, sizes):
    n = 2 * SHOWN
    _, where = graph_sections(ring(n, sizes), torch.arange(n - 1), SaysEven(n // 2))
    assert [image.name for image in where.images] == [f"tinted_graph_{i}.png" for i in (1, 2, 3)]
    assert all(image.png.startswith(PNG) for image in where.images)
    assert [image.caption for image in where.images] == [
        "node 0, in brackets: even, right; and nodes around it",
        f"node {n // 2 - 1}, in brackets: odd, taken for even; and nodes around it",
        f"node {n - 2}, in brackets: even, right; and nodes around it",
    ]
    for (edge_index, found, labels), root in zip(drawn, (0, n // 2 - 1, n - 2), strict=True):
        around = sorted((root + i) % n for i in range(-2, 3))
        assert labels == [f"[node {i}]" if i == root else f"node {i}" for i in around]
        assert found.counts.tolist() == [int(i < n // 2) for i in around]
        pairs = {(around[a], around[b]) for a, b in edge_index.T.tolist()}
        assert all((a - b) % n in (1, n - 1) for a, b in pairs)


def test_a_model_without_routing():
    class Linear(nn.Linear):
        def forward(self, data):
            return super().forward(data.x)

    answers, found = read_nodes(Linear(1, 2), next(ring().batches(torch.arange(6), 1)))
    assert len(answers) == len(found) == 12
    assert found.names == ()
    who, _ = graph_sections(ring(), torch.arange(6), Linear(1, 2))
    assert who.body.count('<td class="number">0%</td></tr>') == 2


@pytest.fixture
def drawn(monkeypatch):
    """The drawn parts: edges, activations and labels."""
    calls = []

    def draw(found, edge_index, *, labels):
        calls.append((edge_index, found, labels))
        return sma.plots.draw_graph(found, edge_index, labels=labels)

    monkeypatch.setattr("sma.training.tasks.graphs_section.draw_graph", draw)
    return calls


def test_the_karate_run_reports_everything(tmp_path):
    spec = TrainSpec.model_validate({**run_values("karate"), "steps": 2, "log_interval": 1})
    run, _ = train(spec, root=tmp_path)
    page = (run.path / "report.html").read_text()
    assert (run.path / "tinted_graph_1.png").read_bytes().startswith(PNG)
    for text in ("34 members", "faction 4", "The whole graph", "activation rate", "most common class"):
        assert text in page
