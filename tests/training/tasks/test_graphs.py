import pytest
import torch

from sma.training.config import TrainSpec
from sma.training.evaluation import evaluate
from sma.training.run.folder import Run
from sma.training.tasks.graphs import KarateSpec, NodeTask
from sma.training.tasks.node_graph import NodeGraph
from sma.training.tasks.task import IGNORED
from sma.training.trainer import Trainer

MODEL = {"preset": "graph_network", "d_model": 8, "n_layers": 2, "n_classes": 3, "d_input": 4}


def node_task(sizes=(3, 2)) -> NodeTask:
    """Three rings of 20 nodes; the class is the ring, and only some nodes hold a trace of it."""
    torch.manual_seed(0)
    classes = torch.arange(60) // 20
    ring = torch.arange(60)
    following = classes * 20 + (ring + 1) % 20
    edge_index = torch.cat((torch.stack((ring, following)), torch.stack((following, ring))), 1)
    x = 0.1 * torch.randn(60, 4)
    x[ring % 3 == 0, classes[ring % 3 == 0]] += 1
    splits = {"training": ring[ring % 5 > 1], "validation": ring[ring % 5 == 1], "test": ring[ring % 5 == 0]}
    names, class_names = [str(i) for i in range(60)], ["first", "second", "third"]
    graph = NodeGraph(x, edge_index, classes, names=names, class_names=class_names, sizes=sizes)
    return NodeTask(graph, splits=splits, title="rings", facts={})


class TestBatches:
    def test_score_the_chosen_nodes_only(self):
        task = node_task()
        batch = task.training_batch(5, torch.Generator().manual_seed(0))
        assert int((batch.targets != IGNORED).sum()) == 5
        assert batch.n_elements == len(batch.targets) == batch.inputs.num_nodes > 5
        assert batch.inputs.edge_index.max() < batch.inputs.num_nodes

    @pytest.mark.parametrize("sizes", [(3, 2), None])
    def test_say_which_nodes_they_hold(self, sizes):
        task = node_task(sizes)
        batch = task.training_batch(5, torch.Generator().manual_seed(0))
        assert torch.equal(batch.inputs.x, task.graph.x[batch.inputs.n_id])

    def test_are_a_function_of_the_generator(self):
        task = node_task()
        first, again = (task.training_batch(5, torch.Generator().manual_seed(3)) for _ in range(2))
        assert torch.equal(first.inputs.x, again.inputs.x)
        assert torch.equal(first.targets, again.targets)

    def test_hold_the_features_and_classes_of_their_nodes(self):
        task = node_task()
        batch = task.training_batch(5, torch.Generator().manual_seed(0))
        number = (batch.inputs.x[:, None] == task.graph.x).all(-1).float().argmax(1)
        scored = batch.targets != IGNORED
        assert torch.equal(batch.targets[scored], task.graph.classes[number[scored]])
        assert set(number[scored].tolist()) <= set(task.splits["training"].tolist())
        edges = {tuple(pair) for pair in task.graph.edge_index.T.tolist()}
        assert {tuple(pair) for pair in number[batch.inputs.edge_index].T.tolist()} <= edges

    @pytest.mark.parametrize("sizes", [(3, 2), None])
    def test_evaluation_covers_a_split_once(self, sizes):
        task = node_task(sizes)
        first, again = (list(task.evaluation_batches("test", 5)) for _ in range(2))
        assert sum(int((batch.targets != IGNORED).sum()) for batch in first) == 12
        assert len(first) == (1 if sizes is None else 3)
        assert all(torch.equal(a.inputs.x, b.inputs.x) for a, b in zip(first, again, strict=True))

    def test_without_sizes_see_the_whole_graph(self):
        batch = node_task(None).training_batch(5, torch.Generator())
        assert batch.n_elements == 60
        assert int((batch.targets != IGNORED).sum()) == 36

    def test_move_without_changing_the_original(self):
        batch = node_task().training_batch(5, torch.Generator().manual_seed(0))
        moved = batch.to(torch.zeros(1, dtype=torch.float64))
        assert moved.inputs.x.dtype == torch.float64
        assert moved.inputs.edge_index.dtype == torch.long
        assert batch.inputs.x.dtype == torch.float32


def test_baselines():
    baselines = node_task().baselines()
    assert baselines["always the most common class"] == pytest.approx(1 / 3)
    assert baselines["the most common class among training neighbours"] == 1.0


@pytest.mark.parametrize(("router", "least"), [("latent_configurator", 0.5), ("always", 0.9)])
def test_a_model_learns_from_neighbours(tmp_path, router, least):
    spec = TrainSpec.model_validate(
        {
            "task": {"kind": "karate"},
            "model": {**MODEL, "router": router},
            "steps": 60,
            "batch_size": 36,
            "learning_rate": 2e-2,
            "validation_interval": 60,
        }
    )
    task = node_task()
    trainer = Trainer(spec, task)
    run = Run.create(spec, tmp_path, None)
    assert trainer.fit(run) == "finished"
    result = evaluate(trainer.model, task, "test", batch_size=12)
    assert result.accuracy > least  # 4 of 12 test nodes hold a trace of their class
    assert result.activation_rates.keys() == {"blocks.0.branches.1", "blocks.1.branches.1"}


def test_sequence_models_are_refused():
    model = {"preset": "seqboat", "d_model": 8, "n_layers": 1, "vocab_size": 3}
    spec = TrainSpec.model_validate({"task": {"kind": "karate"}, "model": model})
    with pytest.raises(ValueError, match="cannot read this task's inputs"):
        Trainer(spec, node_task())


def test_karate():
    task = KarateSpec().build()
    assert {name: len(nodes) for name, nodes in task.splits.items()} == {
        "training": 4,
        "validation": 10,
        "test": 20,
    }
    assert len(torch.cat(list(task.splits.values())).unique()) == 34
    assert task.training_batch(1, torch.Generator()).n_elements == 34
