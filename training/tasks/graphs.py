"""Tasks on graphs: the class of every node, learned from some of them."""

import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from typing_extensions import override

from sma import register
from sma.architectures.specs.fields import Count
from sma.training.tasks.node_graph import NodeGraph
from sma.training.tasks.section import Section
from sma.training.tasks.task import Batch, Evaluation, Split, Task, TaskSpec


class NodeTask(Task):
    """Say which class a node has, from what it and the nodes around it hold.

    A batch is the sampled surroundings of `batch_size` nodes, of which only these are scored; or, without
    `sizes`, always the whole graph.

    Args:
        graph: the nodes, their classes and their edges.
        splits: indices of the nodes of training, validation and test.
        title: names the data.
        facts: about the data.
    """

    unit = "node"
    headline = "accuracy"

    def __init__(
        self, graph: NodeGraph, *, splits: Mapping[str, Tensor], title: str, facts: Mapping[str, str]
    ) -> None:
        self.graph = graph
        self.splits = {name: nodes.contiguous() for name, nodes in splits.items()}
        self.title, self.n_classes = title, len(graph.class_names)
        self.facts = {
            **facts,
            "graph": f"{len(graph):,} nodes, {graph.edge_index.shape[1]:,} directed edges",
            **{f"{name} data": f"{len(nodes):,} nodes" for name, nodes in self.splits.items()},
        }

    @override
    def training_batch(self, batch_size: int, generator: torch.Generator) -> Batch:
        nodes = self.splits["training"]
        if self.graph.sampler is not None:
            nodes = nodes[torch.randperm(len(nodes), generator=generator)[:batch_size]]
        return self.graph.surroundings(nodes, generator)

    @override
    def evaluation_batches(self, split: Split, batch_size: int) -> Iterator[Batch]:
        """Always the same neighbours are drawn."""
        return self.graph.batches(self.splits[split], batch_size)

    @override
    def baselines(self) -> dict[str, float]:
        training, test = self.splits["training"], self.splits["test"]
        classes, edge_index = self.graph.classes, self.graph.edge_index
        most_common = classes[training].bincount(minlength=self.n_classes).argmax()
        votes = torch.zeros(len(classes), self.n_classes)
        known = torch.zeros(len(classes), dtype=torch.bool)
        known[training] = True
        starts, ends = edge_index[:, known[edge_index[0]]]
        votes.index_put_((ends, classes[starts]), torch.ones(len(ends)), accumulate=True)
        votes[:, most_common] += 0.5
        return {
            "always the most common class": float((classes[test] == most_common).float().mean()),
            "the most common class among training neighbours": float(
                (votes[test].argmax(1) == classes[test]).float().mean()
            ),
        }

    @override
    def sections(self, model: nn.Module, test: Evaluation) -> list[Section]:
        """Activation by class, and graphs tinted by activations."""
        from sma.training.tasks.graphs_section import graph_sections

        return graph_sections(self.graph, self.splits["test"], model)


@register
class KarateSpec(TaskSpec):
    """Zachary's karate club: 34 members, friendships, four factions; one member of each is known."""

    kind: Literal["karate"] = "karate"

    @override
    def build(self) -> NodeTask:
        from torch_geometric.datasets import KarateClub

        data = KarateClub()[0]
        rest = (~data.train_mask).nonzero().squeeze(1)
        splits = {
            "training": data.train_mask.nonzero().squeeze(1),
            "validation": rest[::3],
            "test": rest[torch.arange(len(rest)) % 3 > 0],
        }
        graph = NodeGraph(
            data.x,
            data.edge_index,
            data.y,
            names=[str(number) for number in range(1, 35)],
            class_names=[f"faction {i}" for i in range(1, 5)],
        )
        return NodeTask(
            graph,
            splits=splits,
            title="Zachary's karate club: 34 members in 4 factions (torch_geometric)",
            facts={"split": "one known member per faction; of the others every third is validation"},
        )


@register
class WordNetSpec(TaskSpec):
    """The lexical class, of 45, of WordNet's synsets, from their words and those of the synsets around them.

    Attributes:
        folder: holds the database files; the Debian package wordnet-base puts them there.
        vocab_size: tokens are hashed to fewer than that; also the `vocab_size` of the model's bag embedding.
        n_tokens: read per synset at most.
        sizes: neighbours drawn per node and hop.
    """

    kind: Literal["wordnet"] = "wordnet"
    folder: str = "/usr/share/wordnet"
    vocab_size: Annotated[int, Field(ge=2, le=2**24)] = 2**15
    n_tokens: Count = 48
    sizes: Annotated[tuple[Count, ...], Field(min_length=1)] = (10, 5)

    @override
    def build(self) -> NodeTask:
        from sma.training.tasks.wordnet import CLASSES, read_wordnet

        found = read_wordnet(Path(self.folder), vocab_size=self.vocab_size, n_tokens=self.n_tokens)
        graph = NodeGraph(
            found.tokens,
            found.edge_index,
            found.classes,
            names=found.names,
            class_names=CLASSES,
            sizes=self.sizes,
        )
        digit = torch.tensor([zlib.crc32(key.encode()) % 10 for key in found.keys])
        chosen = {"training": digit >= 2, "validation": digit == 1, "test": digit == 0}
        return NodeTask(
            graph,
            splits={name: part.nonzero().squeeze(1) for name, part in chosen.items()},
            title=f"WordNet: the lexical class of {len(graph):,} synsets",
            facts={
                "SHA-256 of the data files": found.digest,
                "split": "CRC-32 of part of speech and offset, modulo 10: 0 is test, 1 validation",
                "not told": "lexicographer file and part of speech of any synset, and the kind of a pointer",
            },
        )
