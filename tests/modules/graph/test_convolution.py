from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch_geometric.data import Batch, Data
from torch_geometric.nn import GATv2Conv, GCNConv, GENConv

import sma
from sma import SMA, CapacityCompaction, Edges, Elements, PackedCompaction, PaddedCompaction, SubModule
from sma.modules.graph.batch import NodeRows
from sma.modules.graph.convolution import GraphConvolution
from sma.modules.graph.named import named_convolution
from sma.modules.routers.top_k import ExpertChoiceRouter
from sma.testing import InputRouter, SubModuleContract

D = 4
NAN = float("nan")
CONVOLUTIONS = {
    "AGNNConv": {},
    "APPNP": {"K": 2, "alpha": 0.1},
    "ARMAConv": {},
    "CGConv": {"dim": 3},
    "ChebConv": {"K": 3},
    "ClusterGCNConv": {},
    "EGConv": {"num_heads": 2},
    "EdgeConv": {},
    "FastRGCNConv": {"num_relations": 2},
    "FeaStConv": {"heads": 2},
    "FiLMConv": {"num_relations": 2},
    "GATConv": {"heads": 2},
    "GATv2Conv": {"heads": 2, "concat": False},
    "GCNConv": {},
    "GENConv": {"norm": "layer"},
    "GINConv": {"train_eps": True},
    "GINEConv": {"edge_dim": 3},
    "GMMConv": {"dim": 3, "kernel_size": 2},
    "GatedGraphConv": {"num_layers": 2},
    "GeneralConv": {"attention": True, "heads": 2},
    "GraphConv": {"aggr": "mean"},
    "LEConv": {},
    "LGConv": {},
    "MFConv": {},
    "MixHopConv": {"powers": [2]},
    "PDNConv": {"edge_dim": 3, "hidden_channels": 5},
    "RGATConv": {"num_relations": 2, "edge_dim": 3},
    "RGCNConv": {"num_relations": 2},
    "ResGatedGraphConv": {},
    "SAGEConv": {"aggr": "max"},
    "SGConv": {"K": 2},
    "SSGConv": {"alpha": 0.1},
    "SimpleConv": {},
    "SuperGATConv": {"heads": 2},
    "TAGConv": {},
    "TransformerConv": {"heads": 2},
    "WLConvContinuous": {},
}
EDGE_INPUTS = {
    "CGConv": ["edge_attr"],
    "FastRGCNConv": ["edge_type"],
    "FiLMConv": ["edge_type"],
    "GINEConv": ["edge_attr"],
    "GMMConv": ["edge_attr"],
    "LEConv": ["edge_weight"],
    "PDNConv": ["edge_attr"],
    "RGATConv": ["edge_type", "edge_attr"],
    "RGCNConv": ["edge_type"],
}
UNUSED = {"ARMAConv": ["weight"], "RGATConv": ["w", "l1", "b1", "l2", "b2"]}
"""Parameters that torch_geometric makes for other arguments only."""


class OverPaths(SubModule):
    """A convolution over edges that follow from positions, so that suites for sequences can test it."""

    causal = False

    def __init__(self, convolution: nn.Module) -> None:
        super().__init__()
        self.convolution = GraphConvolution(convolution)

    def forward(self, elements: Elements) -> Tensor:
        same = (elements.row[:, None] == elements.row) & elements.valid
        near = (elements.position[:, None] - elements.position).abs() == 1
        return self.convolution(replace(elements, edges=Edges((same & near).nonzero().T)))

    def flops(self, n: int) -> int:
        return self.convolution.flops(n)


class TestGCNConv(SubModuleContract):
    def make(self) -> SubModule:
        return OverPaths(named_convolution(self.d_model, "GCNConv"))


class TestGATv2Conv(SubModuleContract):
    def make(self) -> SubModule:
        return OverPaths(named_convolution(self.d_model, "GATv2Conv", {"heads": 2}))


def random_graph(n_nodes: int, n_edges: int, *, seed: int) -> Data:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n_nodes, D, generator=generator, dtype=torch.float64)
    edge_index = torch.randint(max(n_nodes, 1), (2, n_edges), generator=generator)
    edge_index = edge_index[:, edge_index[0] != edge_index[1]]
    n_edges = edge_index.shape[1]
    return Data(
        x=x,
        edge_index=edge_index,
        edge_attr=torch.randn(n_edges, 3, generator=generator, dtype=torch.float64),
        edge_type=torch.randint(2, (n_edges,), generator=generator),
        edge_weight=torch.rand(n_edges, generator=generator, dtype=torch.float64),
    )


def graphs() -> list[Data]:
    sizes = ((6, 14), (1, 0), (4, 0), (9, 30))
    return [random_graph(n, e, seed=seed) for seed, (n, e) in enumerate(sizes)]


def routed(name: str, compaction: sma.Compaction | None = None) -> SMA:
    """A layer whose nodes are active where their first feature is positive."""
    torch.manual_seed(0)
    edge_inputs = EDGE_INPUTS.get(name, [])
    convolution = named_convolution(D, name, CONVOLUTIONS[name], edge_inputs)
    part = GraphConvolution(convolution, edge_inputs=edge_inputs)
    return SMA(InputRouter(1), [part], compaction=compaction).double().eval()


def run(layer: SMA, data: Data) -> Tensor:
    rows = NodeRows.of(data)
    return rows.collect(layer(rows.spread(data.x), rows.mask, rows.edges))


def test_the_table_has_every_convolution_that_fits():
    with pytest.raises(ValueError, match="there are: ") as error:
        named_convolution(D, "xyz")
    known = str(error.value).split("there are: ")[1].split(", ")
    assert {*known} - {"SplineConv"} == {*CONVOLUTIONS}  # SplineConv needs another package


@pytest.mark.parametrize("name", CONVOLUTIONS)
class TestEveryConvolution:
    def test_equals_the_convolution_on_each_induced_sub_graph(self, name):
        layer, singles = routed(name), graphs()
        convolution = layer.sub_modules[0].convolution
        expected = []
        for data in singles:
            active = data.x[:, 0] > 0
            result = torch.zeros_like(data.x)
            if active.any():
                part = data.subgraph(active)
                confidence = part.x[:, :1].sigmoid()
                inputs = {key: part[key] for key in EDGE_INPUTS.get(name, [])}
                result[active] = confidence * convolution(part.x, part.edge_index, **inputs)
            expected.append(result)
        together = run(layer, Batch.from_data_list(singles))
        torch.testing.assert_close(together, torch.cat(expected), atol=1e-12, rtol=1e-9)

    def test_layouts_agree(self, name):
        data = Batch.from_data_list(graphs())
        packed = run(routed(name), data)
        for compaction in (PaddedCompaction(), CapacityCompaction(1.0)):
            torch.testing.assert_close(run(routed(name, compaction), data), packed, atol=1e-12, rtol=1e-9)

    def test_permutation_equivariant(self, name):
        layer, data = routed(name), random_graph(9, 30, seed=5)
        order = torch.randperm(9, generator=torch.Generator().manual_seed(1))
        moved = data.clone()
        moved.x, moved.edge_index = data.x[order], order.argsort()[data.edge_index]
        torch.testing.assert_close(run(layer, moved), run(layer, data)[order], atol=1e-12, rtol=1e-9)

    def test_skipped_nodes_never_reach_it(self, name):
        layer, data = routed(name), random_graph(9, 30, seed=5)
        skipped = data.x[:, 0] <= 0
        clean = run(layer, data)
        data.x[skipped, 1:] = NAN
        data.x.requires_grad_()
        result = run(layer, data)
        torch.testing.assert_close(result, clean, atol=0, rtol=0)
        assert (result[skipped] == 0).all()
        result.sum().backward()
        assert all(p.grad is None or p.grad.isfinite().all() for p in layer.parameters())
        assert (data.x.grad[skipped] == 0).all()

    @pytest.mark.parametrize("n_nodes", [0, 1, 3])
    def test_nothing_active(self, name, n_nodes):
        layer, data = routed(name), random_graph(n_nodes, 2 * n_nodes, seed=0)
        data.x = (-data.x.abs() - 0.1).requires_grad_()
        result = run(layer, data)
        assert (result == 0).all()
        result.sum().backward()
        for key, parameter in layer.sub_modules[0].convolution.named_parameters():
            assert key in UNUSED.get(name, []) or (parameter.grad == 0).all(), key

    def test_one_active(self, name):
        layer, data = routed(name), random_graph(3, 6, seed=0)
        data.x[:, 0] = torch.tensor([-1.0, 2.0, -1.0])
        result = run(layer, data)
        assert result.isfinite().all()
        assert (result[[0, 2]] == 0).all()


def test_dense_oracle():
    """GCN by its formula, with matrices, on the active nodes of each graph."""
    layer = routed("GCNConv")
    convolution = layer.sub_modules[0].convolution
    singles = graphs()
    expected = []
    for data in singles:
        active = (data.x[:, 0] > 0).double()
        adjacency = torch.zeros(data.num_nodes, data.num_nodes, dtype=torch.float64)
        for start, end in data.edge_index.T.tolist():
            adjacency[end, start] += 1
        adjacency = (adjacency + torch.eye(data.num_nodes)) * active[:, None] * active
        scale = adjacency.sum(1).clamp(min=1e-9).rsqrt()
        mixed = (scale[:, None] * adjacency * scale) @ data.x @ convolution.lin.weight.T
        expected.append((mixed + convolution.bias) * (data.x[:, :1].sigmoid() * active[:, None]))
    torch.testing.assert_close(run(layer, Batch.from_data_list(singles)), torch.cat(expected))


def test_gradcheck():
    layer = routed("GATv2Conv")
    data = random_graph(5, 12, seed=3)
    rows = NodeRows.of(data)
    x = rows.spread(data.x).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: layer(x, None, rows.edges), (x,))


def test_router_learns_through_the_confidence_of_active_nodes_only():
    layer, data = routed("GCNConv"), random_graph(9, 30, seed=5)
    rows = NodeRows.of(data)
    with sma.record() as recording:
        result = layer(rows.spread(data.x.requires_grad_()), rows.mask, rows.edges)
    routing = recording.layers[0].routing
    (gradient,) = torch.autograd.grad(result.square().sum(), routing.confidence)
    assert ((gradient != 0) == routing.active).all()
    assert recording.layers[0].n_elements.tolist() == [int((data.x[:, 0] > 0).sum())]


def test_routers_that_compare_elements_choose_within_each_graph():
    torch.manual_seed(0)
    router = ExpertChoiceRouter(D, n_modules=1, capacity=0.5)
    layer = SMA(router, [GraphConvolution(GCNConv(D, D))]).double()
    singles = graphs()
    together = run(layer, Batch.from_data_list(singles))
    torch.testing.assert_close(together, torch.cat([run(layer, data) for data in singles]))


def test_other_sub_modules_work_beside_it():
    torch.manual_seed(0)
    parts = [GraphConvolution(GCNConv(D, D)), sma.Pointwise(nn.Linear(D, D))]
    layer = SMA(InputRouter(2), parts).double()
    assert layer.uses_edges
    assert not layer.causal
    assert run(layer, random_graph(5, 10, seed=0)).shape == (5, D)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_precisions(dtype):
    layer, data = routed("GATv2Conv").to(dtype), Batch.from_data_list(graphs())
    exact = run(routed("GATv2Conv"), data)
    data.x = data.x.to(dtype)
    result = run(layer, data)
    assert result.dtype == dtype
    same = (data.x[:, 0] > 0) == (exact.abs().sum(1) > 0)
    assert same.all()
    torch.testing.assert_close(result.double(), exact, atol=0.1, rtol=0.1)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize(
    ("name", "arguments"), [("SAGEConv", {}), ("GCNConv", {}), ("GATv2Conv", {"heads": 2})]
)
def test_nodes_with_many_neighbours_in_half_precision(dtype, name, arguments):
    """More than half precision can count, or hold the sum of."""
    torch.manual_seed(0)
    n = 70_000
    layer = GraphConvolution(named_convolution(D, name, arguments)).to(dtype)
    x = (4 + torch.randn(1, n + 1, D)).to(dtype)
    star = Edges(torch.stack((torch.arange(1, n + 1), torch.zeros(n, dtype=torch.long))))
    everything = torch.ones(1, n + 1, dtype=torch.bool)
    elements = PackedCompaction().compress(x, everything).with_edges(star, n + 1)
    got = layer(elements)
    assert got.dtype == dtype
    want = layer.double()(replace(elements, x=elements.x.double()))
    torch.testing.assert_close(got.double(), want, rtol=2 * torch.finfo(dtype).eps, atol=1e-3)


def test_autocast():
    layer, data = routed("GCNConv").float(), Batch.from_data_list(graphs())
    data.x = data.x.float()
    with torch.autocast("cpu", torch.bfloat16):
        result = run(layer, data)
    torch.testing.assert_close(result, run(layer, data), atol=0.1, rtol=0.1)


class TestEdgeInputs:
    def test_are_those_of_the_edges_between_active_nodes(self):
        data = random_graph(9, 30, seed=5)
        data.edge_attr = torch.randn(data.num_edges, 3)
        torch.manual_seed(0)
        convolution = GATv2Conv(D, D, edge_dim=3)
        layer = (
            SMA(InputRouter(1), [GraphConvolution(convolution, edge_inputs=["edge_attr"])]).double().eval()
        )
        active = data.x[:, 0] > 0
        part = data.subgraph(active)
        expected = part.x[:, :1].sigmoid() * convolution(part.x, part.edge_index, part.edge_attr.double())
        torch.testing.assert_close(run(layer, data)[active], expected)

    def test_integers_stay_integers(self):
        data = random_graph(6, 20, seed=0)
        data.edge_type = torch.arange(data.num_edges) % 2
        convolution = named_convolution(D, "RGCNConv", {"num_relations": 2}, ["edge_type"])
        layer = SMA(InputRouter(1), [GraphConvolution(convolution, edge_inputs=["edge_type"])]).double()
        assert run(layer, data).isfinite().all()

    @pytest.mark.parametrize("n_edges", [1, 2, 5])
    def test_need_an_entry_for_every_edge(self, n_edges):
        data = Data(x=torch.zeros(3, D), edge_index=torch.zeros(2, n_edges, dtype=torch.long))
        data.edge_attr, data.edge_weight = torch.zeros(n_edges, 2), torch.zeros(n_edges + 1)
        data.edge_label_index = torch.zeros(2, 7, dtype=torch.long)
        assert NodeRows.of(data).edges.attributes.keys() - {"edge_label_index"} == {"edge_attr"}

    def test_missing_in_the_data(self):
        layer = SMA(InputRouter(1), [GraphConvolution(GCNConv(D, D), edge_inputs=["edge_colour"])])
        with pytest.raises(
            ValueError, match="reads edge_colour, which the data lacks; it has of every edge: none"
        ):
            run(layer, Data(x=torch.zeros(1, D), edge_index=torch.zeros(2, 0, dtype=torch.long)))


class TestRefuses:
    def test_no_edges(self):
        layer = SMA(InputRouter(1), [GraphConvolution(GCNConv(D, D))])
        with pytest.raises(ValueError, match="needs the edges between elements"):
            layer(torch.ones(1, 3, D))

    def test_cache(self):
        with pytest.raises(ValueError, match="cached=True"):
            GraphConvolution(GCNConv(D, D, cached=True))

    @pytest.mark.parametrize("norm", ["batch", "instance"])
    def test_norms_over_nodes(self, norm):
        with pytest.raises(ValueError, match="choose another norm"):
            GraphConvolution(GENConv(D, D, norm=norm))

    def test_edge_features_that_do_not_arrive(self):
        with pytest.raises(ValueError, match="edge_dim=3"):
            GraphConvolution(GATv2Conv(D, D, edge_dim=3))

    def test_another_width(self):
        layer = SMA(InputRouter(1), [GraphConvolution(GCNConv(D, 2 * D))])
        with pytest.raises(
            ValueError, match=r"GCNConv maps \(3, 4\) to \(3, 8\); a sub-module keeps the shape"
        ):
            layer(torch.ones(1, 3, D), edges=Edges(torch.tensor([[0], [1]])))

    def test_decoding(self):
        with pytest.raises(NotImplementedError, match="step-by-step"):
            SMA(InputRouter(1), [GraphConvolution(GCNConv(D, D))]).init_state(1)


def test_scale_starts_small_and_learns():
    elements = PackedCompaction().compress(torch.ones(1, 3, D), torch.tensor([[True, True, False]]))
    elements = elements.with_edges(Edges(torch.tensor([[0, 1], [1, 0]])), 3)
    convolution = GCNConv(D, D)
    plain, scaled = GraphConvolution(convolution), GraphConvolution(convolution, init_scale=0.1)
    torch.testing.assert_close(scaled(elements), 0.1 * plain(elements))
    scaled(elements).sum().backward()
    torch.testing.assert_close(scaled.scale.grad, plain(elements).sum().detach().view(1))


def test_flops():
    assert GraphConvolution(GCNConv(D, D)).flops(10) == 10 * 2 * D * D
