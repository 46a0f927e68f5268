import pytest
import torch

from sma.modules.graph_convolutions import check_convolution, named_convolution


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
        convolution = named_convolution(8, name)
        extra = {"edge_attr": torch.randn(2, 8)} if name == "GINEConv" else {}
        assert convolution(torch.randn(3, 8), torch.tensor([[0, 1], [1, 2]]), **extra).shape == (3, 8)

    def test_inherited_arguments(self):
        assert named_convolution(8, "SAGEConv", {"flow": "target_to_source"}).flow == "target_to_source"

    def test_lists_become_what_the_class_takes(self):
        convolution = named_convolution(8, "EGConv", {"aggregators": ["mean", "max"], "num_heads": 2})
        assert convolution.aggregators == ["mean", "max"]


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("GCNCov", {}, "no convolution 'GCNCov'; did you mean .*GCNConv.*there are: AGNNConv, "),
        ("MessagePasing", {}, "no convolution 'MessagePasing'"),
        ("Linear", {}, "no convolution 'Linear'"),
        ("GCN2Conv", {"alpha": 0.1}, r"GCN2Conv is called with \(x, x_0, edge_index, edge_weight\)"),
        ("HeteroConv", {}, "no convolution 'HeteroConv'"),
        ("GCNConv", {"improve": True}, "no argument 'improve' here; did you mean improved.*add_self_loops"),
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
        ("SAGEConv", {"aggr": "summ"}, "SAGEConv does not take .*summ"),
    ],
)
def test_refuses(name, arguments, message):
    with pytest.raises(ValueError, match=message):
        named_convolution(8, name, arguments)


class TestEdgeInputs:
    def test_known(self):
        assert check_convolution("GATv2Conv", {"edge_dim": 4}, ["edge_attr"]).__name__ == "GATv2Conv"

    def test_unknown(self):
        with pytest.raises(ValueError, match="reads no edge input 'edge_attr'; did you mean edge_weight"):
            check_convolution("GCNConv", {}, ["edge_attr"])

    def test_not_of_edges(self):
        with pytest.raises(ValueError, match="reads no edge input 'size'"):
            check_convolution("SAGEConv", {}, ["size"])
