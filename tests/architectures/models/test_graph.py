import re

import pytest
import torch
from pydantic import ValidationError
from torch import nn
from torch_geometric.data import Batch, Data
from torch_geometric.explain import Explainer, GNNExplainer
from torch_geometric.nn import summary
from torch_geometric.utils import k_hop_subgraph, subgraph

import sma
from sma import PerElement
from sma.architectures import dump_spec, load_model, load_spec, save_model
from sma.architectures.blocks.stack import StackSpec
from sma.architectures.models.embeddings import BagEmbedding, TokenEmbedding
from sma.architectures.models.graph import GraphModel, GraphModelSpec, NodeClassifierSpec
from sma.architectures.models.heads import LanguageModelHead
from sma.architectures.presets.graph import graph_network
from sma.architectures.specs.graph import GraphArguments, GraphConvolutionSpec
from sma.testing import SpecContract

N_CLASSES = 3
YAML = """
kind: graph_model
d_model: 8
embedding: {kind: features, d_input: 4}
blocks:
  - repeat: 2
    kind: residual
    norm: {kind: layer_norm}
    mixer: {kind: dense, module: {kind: graph_convolution, name: SAGEConv}}
    branches:
      - {kind: linear}
      - kind: sma
        router: {kind: latent_configurator}
        modules:
          - kind: graph_convolution
            name: GATv2Conv
            arguments: {heads: 2, edge_dim: 3}
            edge_inputs: [edge_attr]
          - {kind: graph_convolution, name: GCNConv}
norm: {kind: layer_norm}
head: {kind: node_classifier, n_classes: 3}
"""
CONVOLUTIONS = ["GCNConv", "GATv2Conv", "GINConv", "TransformerConv"]
ROUTERS = [
    "latent_configurator",
    {"kind": "expert_choice", "capacity": 0.5},
    {"kind": "sigmoid"},
    "always",
    "never",
]


def random_graph(n_nodes: int, n_edges: int, *, seed: int) -> Data:
    generator = torch.Generator().manual_seed(seed)
    return Data(
        x=torch.randn(n_nodes, 4, generator=generator, dtype=torch.float64),
        edge_index=torch.randint(max(n_nodes, 1), (2, n_edges), generator=generator),
        edge_attr=torch.randn(n_edges, 3, generator=generator, dtype=torch.float64),
    )


def graphs() -> list[Data]:
    sizes = ((6, 14), (1, 0), (0, 0), (4, 0), (9, 30))
    return [random_graph(n, e, seed=seed) for seed, (n, e) in enumerate(sizes)]


def shuffled(data: Data, order: torch.Tensor) -> Data:
    """The same graph with other node numbers, and its edges in another order."""
    edges = torch.randperm(data.num_edges, generator=torch.Generator().manual_seed(0))
    moved = order.argsort()[data.edge_index[:, edges]]
    return Data(x=data.x[order], edge_index=moved, edge_attr=data.edge_attr[edges])


def network(*, router="latent_configurator", name="GATv2Conv", pool=False) -> GraphModelSpec:
    return graph_network(
        d_model=8,
        n_layers=2,
        n_classes=N_CLASSES,
        d_input=4,
        convolution={"kind": "graph_convolution", "name": name},
        router=router,
        pool=pool,
    )


def built(spec: GraphModelSpec) -> nn.Module:
    """The model with weights large enough that decisions differ between nodes."""
    torch.manual_seed(0)
    model = spec.build().double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.5)
    return model


def nested(depth: int) -> list:
    value: list = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.fixture
def spec(tmp_path):
    path = tmp_path / "model.yaml"
    path.write_text(YAML)
    return load_spec(path)


class TestModel:
    def test_node_scores(self, spec):
        data = Batch.from_data_list(graphs())
        assert built(spec)(data).shape == (20, N_CLASSES)

    def test_graph_scores_are_means_over_nodes(self):
        data = Batch.from_data_list(graphs())
        nodes, whole = built(network()), built(network(pool=True))
        whole.load_state_dict({k: v for k, v in nodes.state_dict().items() if "head" not in k}, strict=False)
        nodes.head, head = PerElement(nn.Identity()), whole.head.output
        hidden = nodes(data)
        sums = torch.stack([hidden[data.batch == i].sum(0) for i in range(5)])
        means = sums / torch.tensor([6, 1, 1, 4, 9])[:, None]
        torch.testing.assert_close(whole(data), means @ head.weight.T + head.bias)

    @pytest.mark.parametrize("router", ROUTERS, ids=str)
    @pytest.mark.parametrize("pool", [False, True])
    def test_a_graph_does_not_depend_on_its_batch_mates(self, router, pool):
        model, singles = built(network(router=router, pool=pool)), graphs()
        together = model(Batch.from_data_list(singles))
        torch.testing.assert_close(together, torch.cat([model(data) for data in singles]))

    @pytest.mark.parametrize("router", ROUTERS, ids=str)
    @pytest.mark.parametrize("name", CONVOLUTIONS)
    def test_permutation_equivariant(self, router, name):
        data = random_graph(9, 30, seed=5)
        order = torch.randperm(9, generator=torch.Generator().manual_seed(1))
        nodes = built(network(router=router, name=name))
        torch.testing.assert_close(nodes(shuffled(data, order)), nodes(data)[order])
        whole = built(network(router=router, name=name, pool=True))
        torch.testing.assert_close(whole(shuffled(data, order)), whole(data))

    def test_never_sees_edges_of_skipped_nodes(self):
        model, data = built(network()), random_graph(9, 30, seed=5)
        with sma.record() as recording:
            expected = model(data)
        active = recording.layers[0].routing.active.flatten() & recording.layers[1].routing.active.flatten()
        never = ~(recording.layers[0].routing.active | recording.layers[1].routing.active).flatten()
        assert active.any()
        assert never.any()
        kept = ~(never[data.edge_index]).any(0)
        assert not kept.all()
        thinned = Data(x=data.x, edge_index=data.edge_index[:, kept])
        torch.testing.assert_close(model(thinned), expected, atol=1e-12, rtol=1e-12)

    def test_record_names_layers(self, spec):
        model, data = built(spec), Batch.from_data_list(graphs())
        with sma.record() as recording:
            model(data)
        assert [layer.name for layer in recording.layers] == ["blocks.0.branches.1", "blocks.1.branches.1"]
        layer = recording.layers[1]
        assert layer.mask.sum() == 20
        assert layer.n_elements.tolist() == layer.routing.active.sum((0, 1)).tolist()
        assert all(flops >= 0 for flops in layer.flops)

    @pytest.mark.parametrize("router", ["always", "never", "latent_configurator"])
    @pytest.mark.parametrize(("n_nodes", "n_edges"), [(0, 0), (1, 0), (1, 2), (5, 0)])
    @pytest.mark.parametrize("pool", [False, True])
    def test_degenerate_graphs(self, router, n_nodes, n_edges, pool):
        model = built(network(router=router, pool=pool))
        scores = model(random_graph(n_nodes, n_edges, seed=0))
        assert scores.shape == (1 if pool else n_nodes, N_CLASSES)
        assert scores.isfinite().all()
        scores.sum().backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())

    def test_gradcheck(self, spec):
        model, data = built(spec), random_graph(4, 6, seed=0)

        def scores(x):
            return model(Data(x=x, edge_index=data.edge_index, edge_attr=data.edge_attr))

        assert torch.autograd.gradcheck(scores, (data.x.requires_grad_(),))

    def test_routed_blocks_and_stacks_pass_edges_on(self):
        block = network().blocks[0].model_copy(update={"repeat": 1})
        depths = {
            "kind": "residual",
            "branches": [
                {
                    "kind": "sma",
                    "router": {"kind": "expert_choice", "capacity": 0.5},
                    "modules": [{"kind": "layer", "layer": block.model_dump(), "change_only": True}],
                }
            ],
        }
        stack = StackSpec(blocks=[block, depths])
        spec = GraphModelSpec.model_validate({**network().model_dump(), "blocks": [stack]})
        model, singles = built(spec), graphs()
        together = model(Batch.from_data_list(singles))
        torch.testing.assert_close(together, torch.cat([model(data) for data in singles]))
        cut = Data(x=singles[-1].x, edge_index=singles[-1].edge_index[:, :0])
        assert not torch.allclose(model(singles[-1]), model(cut))

    def test_says_what_the_data_lacks(self, spec):
        model = built(spec)
        with pytest.raises(ValueError, match=r"data\.x is missing"):
            model(Data(edge_index=torch.zeros(2, 0, dtype=torch.long)))
        with pytest.raises(ValueError, match=r"data\.x is missing"):
            model("triangle")
        with pytest.raises(ValueError, match=r"data\.edge_index is missing"):
            model(Data(x=torch.zeros(2, 4).double()))
        with pytest.raises(ValueError, match="reads edge_attr, which the data lacks"):
            model(Data(x=torch.zeros(2, 4).double(), edge_index=torch.zeros(2, 0, dtype=torch.long)))


class TestToolsOfTorchGeometric:
    TASK = {"mode": "multiclass_classification", "task_level": "node", "return_type": "raw"}  # noqa: RUF012

    def explained(self, router="latent_configurator", **masks):
        data = random_graph(9, 30, seed=0)
        explainer = Explainer(
            built(network(router=router)).float(),
            GNNExplainer(epochs=5),
            explanation_type="model",
            model_config=self.TASK,
            **masks,
        )
        return explainer(data.x.float(), data.edge_index, edge_attr=data.edge_attr.float())

    @pytest.mark.parametrize(("kind", "shape"), [("object", (9, 1)), ("attributes", (9, 4))])
    def test_explainers_mask_nodes(self, kind, shape):
        mask = self.explained(node_mask_type=kind).node_mask
        assert mask.shape == shape
        assert mask.isfinite().all()
        assert mask.unique().numel() > 1

    def test_explainers_mask_edges_that_every_convolution_sees(self):
        mask = self.explained("always", edge_mask_type="object").edge_mask
        assert mask.shape == (30,)
        assert mask.unique().numel() > 1

    def test_masks_of_edges_that_a_router_hides_are_refused(self):
        with pytest.raises(
            ValueError, match=r"edge mask of an explainer is for 30 edges, but .* sees the \d+ "
        ):
            self.explained(edge_mask_type="object")

    def test_fields_may_be_arguments(self):
        model, data = built(network()), Batch.from_data_list(graphs())
        fields = {"batch": data.batch, "edge_attr": data.edge_attr}
        assert torch.equal(model(data.x, data.edge_index, **fields), model(data))
        with pytest.raises(ValueError, match="edge_index is missing"):
            model(data.x)

    def test_summary(self):
        model, data = built(network()), random_graph(9, 30, seed=0)
        n_parameters = sum(parameter.numel() for parameter in model.parameters())
        table = summary(model, data)
        assert re.search(rf"GraphModel +\| \[9, 9\] +\| \[9, \d\] +\| {n_parameters:,} ", table)
        assert "(head)NodeClassifier" in table

    def test_seeds_of_a_sampled_neighbourhood_have_the_scores_of_the_whole_graph(self):
        """As in a batch of NeighborLoader, which needs pyg-lib: the seeds first, then their neighbours."""
        data, seeds = random_graph(12, 20, seed=1), torch.tensor([7, 2])
        around, _, _, _ = k_hop_subgraph(seeds, 2, data.edge_index)
        nodes = torch.cat((seeds, around[~torch.isin(around, seeds)]))
        edges, attributes = subgraph(nodes, data.edge_index, data.edge_attr)
        place = torch.empty(12, dtype=torch.long)
        place[nodes] = torch.arange(len(nodes))
        batch = Data(data.x[nodes], place[edges], attributes, n_id=nodes, input_id=seeds, batch_size=2)
        model = built(network())
        assert len(nodes) < 12
        torch.testing.assert_close(model(batch)[: batch.batch_size], model(data)[seeds])


class TestSpec:
    def test_round_trip(self, spec, tmp_path):
        assert GraphModelSpec.model_validate_json(spec.model_dump_json()) == spec
        path = tmp_path / "again.yaml"
        path.write_text(dump_spec(spec))
        assert load_spec(path) == spec

    def test_save_and_load(self, spec, tmp_path):
        model, data = built(spec).float(), Batch.from_data_list(graphs())
        data.x, data.edge_attr = data.x.float(), data.edge_attr.float()
        save_model(model, tmp_path)
        again = load_model(tmp_path)
        assert again.spec == spec
        assert torch.equal(again(data), model(data))

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"name": "GCNCov"}, "no convolution 'GCNCov'; did you mean .*GCNConv"),
            ({"arguments": {"improve": True}}, "no argument 'improve' here; did you mean improved"),
            ({"arguments": {"improved": 3}}, "'improved' of GCNConv must be bool, got 3"),
            ({"edge_inputs": ["edge_atr"]}, "reads no edge input 'edge_atr'"),
            ({"argument": {}}, "did you mean arguments"),
            ({"name": "TAGConv", "arguments": {"K": 10**6}}, "'K' of TAGConv must be 0 to 256, got 1000000"),
            ({"arguments": {"aggr": torch.ones(1)}}, "arguments must be JSON values: .*Tensor"),
            ({"arguments": {"aggr": nested(100_000)}}, "arguments must be JSON values: .*recursion"),
        ],
    )
    def test_refuses_wrong_convolutions(self, change, message):
        with pytest.raises(ValidationError, match=message):
            GraphConvolutionSpec.model_validate({"name": "GCNConv", **change})

    def test_tries_every_convolution(self):
        with pytest.raises(
            ValidationError,
            match=r"blocks\.0\.branches\.1\.modules\.0: MixHopConv maps \(3, 8\) to \(3, 24\), but",
        ):
            network(name="MixHopConv")

    def test_refuses_heads_that_do_not_fit(self):
        with pytest.raises(ValidationError, match="nodes have no order; use node_classifier"):
            GraphModelSpec.model_validate({**network().model_dump(), "head": "language_model"})
        head = {"kind": "classifier", "n_classes": 2, "n_documents": 2}
        with pytest.raises(ValidationError, match="graphs come one by one"):
            GraphModelSpec.model_validate({**network().model_dump(), "head": head})

    def test_a_model_made_in_python_refuses_a_head_that_needs_an_order(self):
        spec = network()
        parts = {"embedding": spec.embedding.build(8), "blocks": [], "norm": None}
        GraphModel(spec, head=spec.head.build(8, parts["embedding"]), **parts)
        head = LanguageModelHead(8, embedding=TokenEmbedding(8, vocab_size=3))
        with pytest.raises(ValueError, match=r"LanguageModelHead predicts .* nodes have no order"):
            GraphModel(spec, head=head, **parts)

    def test_convolutions_look_ahead(self):
        assert not GraphConvolutionSpec(name="GCNConv").build(8).causal

    @pytest.mark.parametrize("given", [{}, {"d_input": 2, "embedding": {"kind": "bag", "vocab_size": 9}}])
    def test_preset_wants_one_embedding(self, given):
        with pytest.raises(ValueError, match="either d_input or embedding"):
            graph_network(d_model=8, n_layers=1, n_classes=2, **given)

    def test_arguments_cannot_change(self):
        arguments = GraphConvolutionSpec(name="EGConv", arguments={"aggregators": ["mean"]}).arguments
        arguments["aggregators"].append("max")
        assert arguments == {"aggregators": ["mean"]}
        assert hash(arguments) == hash(GraphArguments({"aggregators": ["mean"]}))
        with pytest.raises(TypeError):
            arguments["heads"] = 2


class TestGraphConvolutionSpec(SpecContract):
    def make(self):
        return GraphConvolutionSpec(
            name="TAGConv", arguments={"K": 2}, edge_inputs=["edge_weight"], init_scale=0.5
        )

    def outputs(self, module):
        edges = sma.Edges(torch.tensor([[0, 1], [1, 2]]), {"edge_weight": torch.tensor([1.0, 2.0])})
        x = torch.linspace(-1, 1, 3 * self.d_model).view(1, 3, self.d_model)
        layer = sma.SMA(sma.modules.AlwaysActive(1), [module])
        return [layer(x, edges=edges)]


class TestNodeClassifierSpec(SpecContract):
    def make(self):
        return NodeClassifierSpec(n_classes=4, dropout=0.5)

    def build(self, spec):
        return spec.build(self.d_model, nn.Identity())

    def outputs(self, module):
        return [module(torch.linspace(-1, 1, self.d_model).expand(1, 2, -1))]


class TestBagEmbedding:
    def test_mean_of_the_tokens_that_are_there(self):
        embedding = BagEmbedding(4, vocab_size=10)
        bags = torch.tensor([[[3, 0, 1], [0, 0, 0]], [[2, 2, 5], [9, 0, 0]]])
        expected = torch.zeros(2, 2, 4)
        for b in range(2):
            for t in range(2):
                tokens = [token for token in bags[b, t].tolist() if token]
                for token in tokens:
                    expected[b, t] += embedding.weight[token].detach() / len(tokens)
        torch.testing.assert_close(embedding(bags), expected)

    def test_none_has_no_vector(self):
        embedding = BagEmbedding(4, vocab_size=3)
        embedding(torch.tensor([[[0, 1]]])).sum().backward()
        assert embedding.weight.grad.abs().sum(1).tolist() == [0, 4, 0]

    def test_empty(self):
        assert BagEmbedding(4, vocab_size=3)(torch.zeros(1, 0, 5, dtype=torch.long)).shape == (1, 0, 4)

    def test_refuses_features(self):
        with pytest.raises(ValueError, match=r"bags must be \(B, L, K\) integers"):
            BagEmbedding(4, vocab_size=3)(torch.zeros(1, 2, 5))
