"""The report's sections on graphs: activation by class, and pictures of the graph or of parts of it."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from sma.plots import ActivationMap, draw_graph
from sma.training.figures import to_png
from sma.training.pages.rendering import part
from sma.training.tasks.neighbours import NeighbourSampler
from sma.training.tasks.node_graph import NodeGraph
from sma.training.tasks.running import evaluating, run_batch
from sma.training.tasks.section import Image, Section, tint_note
from sma.training.tasks.task import IGNORED, Batch

if TYPE_CHECKING:
    from torch_geometric.data import Data

BATCH_SIZE = 512
N_PICTURES = 3
SHOWN = 50
"""In a picture of more nodes than these no name can be read: of larger graphs parts are drawn."""
SIZES = (8, 4)
"""Neighbours per hop in such a part."""


def graph_sections(graph: NodeGraph, test: Tensor, model: nn.Module) -> list[Section]:
    """Activation and accuracy of the test nodes `(k,)` by class, and pictures with the nodes' names."""
    answers, maps = [], []
    for batch in graph.batches(test, BATCH_SIZE):
        said, found = read_nodes(model, batch)
        scored = batch.targets != IGNORED
        answers.append(torch.stack((batch.targets, said))[:, scored])
        maps.append(found[scored])
    classes, said = torch.cat(answers, 1)
    active = torch.cat([found.counts / found.highest for found in maps])
    rows = [
        (graph.class_names[c], f"{n:,}", f"{right:.0%}", f"{share:.0%}")
        for c, n, right, share in _by_class(classes, classes == said, active)
    ]
    heads = ["class", "test nodes", "correct", "activation rate"]
    return [
        Section("Activation by class", part("table", heads, rows, numbers=3)),
        Section(
            "Where the model activates",
            tint_note(maps, "node"),
            [
                Image(f"tinted_graph_{number}.png", caption, png)
                for number, (caption, png) in enumerate(_pictures(graph, test, model), 1)
            ],
        ),
    ]


def read_nodes(model: nn.Module, batch: Batch) -> tuple[Tensor, ActivationMap]:
    """The model's answer about every node of a batch, and what the node activated."""
    with evaluating(model), torch.no_grad():
        scores, recording = run_batch(model, batch.to(next(model.parameters())))
    answers = scores.argmax(-1).cpu()
    if not recording.layers:
        return answers, ActivationMap.none(len(answers))
    return answers, ActivationMap.of(recording)


def _by_class(classes: Tensor, right: Tensor, active: Tensor) -> Iterator[tuple[int, int, float, float]]:
    """Class, how many nodes it has, the share of right answers, the activation rate; large classes first."""
    counts = classes.bincount()
    for c in counts.argsort(descending=True, stable=True).tolist():
        if counts[c]:
            of = classes == c
            yield c, int(counts[c]), float(right[of].float().mean()), float(active[of].mean())


def _pictures(graph: NodeGraph, test: Tensor, model: nn.Module) -> Iterator[tuple[str, bytes]]:
    """Caption and PNG: of the whole graph if it is small, else of the surroundings of some test nodes."""
    generator = torch.Generator().manual_seed(0)
    n = 1 if graph.sampler is None and len(graph) <= SHOWN else min(N_PICTURES, len(test))

    def read(nodes: Tensor) -> tuple["Data", Tensor, ActivationMap]:
        batch = graph.surroundings(nodes, generator)
        return cast("Data", batch.inputs), *read_nodes(model, batch)

    whole = read(test) if graph.sampler is None else None
    for node in test[torch.linspace(0, len(test) - 1, n).long()]:
        data, answers, found = whole or read(node[None])
        numbers, edge_index = data.n_id, data.edge_index
        place = torch.searchsorted(numbers, node)
        said, true = (graph.class_names[c] for c in (int(answers[place]), int(graph.classes[node])))
        if len(numbers) > SHOWN:
            sampler = NeighbourSampler(edge_index, len(numbers), sizes=SIZES)
            kept, edge_index = sampler.sample(place[None], generator)
            numbers, found = numbers[kept], found[kept]
        names = [graph.names[number] for number in numbers.tolist()]
        caption = "The whole graph"
        if len(names) < len(graph):
            answer = f"{true}, right" if said == true else f"{true}, taken for {said}"
            caption = f"{graph.names[int(node)]}, in brackets: {answer}; and nodes around it"
            names[int(torch.searchsorted(numbers, node))] = f"[{graph.names[int(node)]}]"
        yield caption, to_png(draw_graph(found, edge_index, labels=names))
