from functools import wraps

import pytest
import torch
from torch_geometric.nn import LEConv

from sma.modules.graph.named import check_convolution, named_convolution


def nested(depth: int) -> list:
    value: list = []
    for _ in range(depth):
        value = [value]
    return value


class TestFilledIn:
    def test_widths(self):
        convolution = named_convolution(8, "GCNConv", {"improved": True})
        assert (convolution.in_channels, convolution.out_channels, convolution.improved) == (8, 8, True)

    @pytest.mark.parametrize(("concat", "width"), [(True, 2), (False, 8)])
    def test_heads_share_the_width_where_they_are_concatenated(self, concat, width):
        convolution = named_convolution(8, "GATv2Conv", {"heads": 4, "concat": concat})
        assert convolution.out_channels == width
        edges = torch.tensor([[0, 1], [1, 2]])
        assert convolution(torch.randn(3, 8), edges).shape == (3, 8)

    @pytest.mark.parametrize("name", ["GINConv", "GINEConv", "EdgeConv"])
    def test_networks(self, name):
        extra = {"edge_attr": torch.randn(2, 8)} if name == "GINEConv" else {}
        convolution = named_convolution(8, name, edge_inputs=list(extra))
        assert convolution(torch.randn(3, 8), torch.tensor([[0, 1], [1, 2]]), **extra).shape == (3, 8)

    def test_inherited_arguments(self):
        assert named_convolution(8, "SAGEConv", {"flow": "target_to_source"}).flow == "target_to_source"

    def test_lists_become_what_the_class_takes(self):
        convolution = named_convolution(8, "EGConv", {"aggregators": ["mean", "max"], "num_heads": 2})
        assert convolution.aggregators == ["mean", "max"]


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("GCNCov", {}, "no convolution 'GCNCov'; did you mean .*GCNConv"),
        ("MessagePasing", {}, "no convolution 'MessagePasing'"),
        ("Linear", {}, "no convolution 'Linear'"),
        ("GCN2Conv", {"alpha": 0.1}, r"GCN2Conv is called with \(x, x_0, edge_index, edge_weight\)"),
        ("HeteroConv", {}, "no convolution 'HeteroConv'"),
        ("GCNConv", {"improve": True}, "no argument 'improve' here; did you mean improved"),
        ("GCNConv", {"in_channels": 3}, "'in_channels' of GCNConv follows from d_model; leave it out"),
        ("GCNConv", {"cached": True}, "no argument 'cached' here"),
        ("GCNConv", {"improved": "yes"}, "'improved' of GCNConv must be bool, got 'yes'"),
        ("GATv2Conv", {"heads": 2.5}, "'heads' of GATv2Conv must be int, got 2.5"),
        ("GATv2Conv", {"heads": True}, "'heads' of GATv2Conv must be int, got True"),
        ("GATv2Conv", {"heads": 3}, "heads=3 of GATv2Conv must divide d_model=8"),
        ("GATv2Conv", {"heads": 0}, "heads=0 of GATv2Conv"),
        ("GATv2Conv", {"dropout": torch.ones(1)}, "'dropout' of GATv2Conv must be a JSON value, got Tensor"),
        ("GatedGraphConv", {}, "GatedGraphConv needs the argument num_layers; add it"),
        ("NNConv", {}, "NNConv needs the argument nn; build it in Python"),
        ("SAGEConv", {"aggr": "summ"}, "SAGEConv with .*summ.* cannot be made: ValueError"),
        ("ChebConv", {"K": 0}, "ChebConv with {'K': 0} cannot be made: AssertionError$"),
        ("GINConv", {"eps": float("inf")}, "must be a JSON value"),
        ("ChebConv", {"K": -1}, "'K' of ChebConv must be 0 to 256, got -1"),
        ("ChebConv", {"K": 10**9}, "'K' of ChebConv must be 0 to 256, got 1000000000"),
        ("CGConv", {"dim": 4097}, "'dim' of CGConv must be 0 to 4096, got 4097"),
        ("MixHopConv", {"powers": [1, 257]}, "'powers' of MixHopConv must be 0 to 256, got 257"),
        (
            "SAGEConv",
            {"aggr_kwargs": {"k": [{"k": 1000}]}},
            "'aggr_kwargs' of SAGEConv must be 0 to 256, got 1000",
        ),
        (
            "EGConv",
            {"aggregators": ["mean"] * 500},
            "'aggregators' of EGConv must be at most 1000 characters",
        ),
        ("EGConv", {"aggregators": nested(400)}, r"must be Optional\[List\[str\]\], got \[\["),
        ("EGConv", {"aggregators": nested(100_000)}, "must be a JSON value, got list: maximum recursion"),
        ("GENConv", {"norm": "fair"}, "cannot be made: NotImplementedError: .*fair"),
        ("MixHopConv", {}, r"^MixHopConv maps \(3, 8\) to \(3, 24\), but must keep the width"),
        ("GINEConv", {}, "GINEConv fails on a small graph: AttributeError.*edge inputs edge_attr$"),
        ("DNAConv", {}, "DNAConv fails on a small graph: ValueError: Feature shape"),
        ("MeshCNNConv", {}, "MeshCNNConv fails on a small graph: RuntimeError"),
    ],
)
def test_refuses(name, arguments, message):
    with pytest.raises(ValueError, match=message):
        named_convolution(8, name, arguments)


@pytest.mark.parametrize(
    ("d_model", "name", "arguments"),
    [
        (8, "TAGConv", {"K": 256}),
        (16, "GATv2Conv", {"heads": 256, "concat": False}),
        (7000, "GATv2Conv", {"heads": 7}),
        (2**20, "GATv2Conv", {}),
        (128, "GENConv", {"num_layers": 256, "expansion": 256, "norm": "layer"}),
    ],
)
def test_large_ones_are_checked_without_memory(d_model, name, arguments):
    with torch.device("meta"):
        convolution = named_convolution(d_model, name, arguments)
    assert all(parameter.is_meta for parameter in convolution.parameters())


def test_wide_ones_are_tried_in_small():
    with torch.device("meta"), pytest.raises(ValueError, match=r"MixHopConv maps \(3, 256\) to \(3, 768\)"):
        named_convolution(2**20, "MixHopConv")
    with torch.device("meta"), pytest.raises(ValueError, match=r"must be divisible by the number of heads"):
        named_convolution(300, "EGConv")


def test_is_tried_once_and_takes_no_random_numbers(monkeypatch):
    calls = []
    forward = LEConv.forward

    @wraps(forward)
    def counted(*inputs):
        calls.append(inputs)
        return forward(*inputs)

    monkeypatch.setattr(LEConv, "forward", counted)
    torch.manual_seed(0)
    first = named_convolution(6, "LEConv").state_dict()
    torch.manual_seed(0)
    again = named_convolution(6, "LEConv").state_dict()
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert len(calls) == 1


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr("torch_geometric.nn.conv.spline_conv.spline_basis", None)
    with pytest.raises(ValueError, match=r"SplineConv with .* cannot be made: ImportError: .*pyg-lib"):
        named_convolution(8, "SplineConv", {"dim": 2, "kernel_size": 3}, ["edge_attr"])


class TestEdgeInputs:
    def test_known(self):
        assert check_convolution("GATv2Conv", {"edge_dim": 4}, ["edge_attr"]).__name__ == "GATv2Conv"

    def test_unknown(self):
        with pytest.raises(ValueError, match="reads no edge input 'edge_attr'; did you mean edge_weight"):
            check_convolution("GCNConv", {}, ["edge_attr"])

    def test_not_of_edges(self):
        with pytest.raises(ValueError, match="reads no edge input 'size'"):
            check_convolution("SAGEConv", {}, ["size"])
