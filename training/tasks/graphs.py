"""Tasks on graphs: the class of every node, learned from some of them."""

import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from typing_extensions import override

from sma import register
from sma.architectures.specs.families import Count
from sma.training.tasks.neighbours import NeighbourSampler
from sma.training.tasks.task import IGNORED, Batch, Split, Task, TaskSpec

if TYPE_CHECKING:
    from sma.training.evaluation import Evaluation
    from sma.training.report.page import Section


class NodeTask(Task):
    """Say which class a node has, from what it and the nodes around it hold.

    A batch is the sampled surroundings of `batch_size` nodes, of which only these are scored; or, without
    `sizes`, always the whole graph.

    Args:
        x: `(n, ...)`, what a model's embedding reads.
        edge_index: `(2, E)` long.
        classes: `(n,)` long.
        splits: indices of the nodes of training, validation and test.
        names: n; what pictures call the nodes.
        class_names: C; what a report calls the classes.
        title: names the data.
        facts: about the data.
        sizes: neighbours per hop, see `NeighbourSampler`; None for the whole graph.
    """

    unit = "node"
    headline = "accuracy"

    def __init__(
        self,
        x: Tensor,
        edge_index: Tensor,
        classes: Tensor,
        *,
        splits: Mapping[str, Tensor],
        names: Sequence[str],
        class_names: Sequence[str],
        title: str,
        facts: Mapping[str, str],
        sizes: Sequence[int] | None = None,
    ) -> None:
        self.x, self.edge_index, self.classes = x, edge_index, classes
        self.splits = {name: nodes.contiguous() for name, nodes in splits.items()}
        self.names, self.class_names = names, class_names
        self.title, self.n_classes = title, len(class_names)
        self.sampler = None if sizes is None else NeighbourSampler(edge_index, len(x), sizes=sizes)
        self.facts = {
            **facts,
            "graph": f"{len(x):,} nodes, {edge_index.shape[1]:,} directed edges",
            **{f"{name} data": f"{len(nodes):,} nodes" for name, nodes in self.splits.items()},
        }

    @override
    def training_batch(self, batch_size: int, generator: torch.Generator) -> Batch:
        nodes = self.splits["training"]
        if self.sampler is None:
            return self.surroundings(nodes, generator)
        chosen = torch.randperm(len(nodes), generator=generator)[:batch_size]
        return self.surroundings(nodes[chosen], generator)

    @override
    def evaluation_batches(self, split: Split, batch_size: int) -> Iterator[Batch]:
        """Always the same neighbours are drawn."""
        nodes = self.splits[split]
        generator = torch.Generator().manual_seed(0)
        for part in torch.split(nodes, len(nodes) if self.sampler is None else batch_size):
            yield self.surroundings(part, generator)

    @override
    def baselines(self) -> dict[str, float]:
        training, test = self.splits["training"], self.splits["test"]
        most_common = self.classes[training].bincount(minlength=self.n_classes).argmax()
        votes = torch.zeros(len(self.x), self.n_classes)
        known = torch.zeros(len(self.x), dtype=torch.bool)
        known[training] = True
        starts, ends = self.edge_index[:, known[self.edge_index[0]]]
        votes.index_put_((ends, self.classes[starts]), torch.ones(len(ends)), accumulate=True)
        votes[:, most_common] += 0.5
        return {
            "always the most common class": float((self.classes[test] == most_common).float().mean()),
            "the most common class among training neighbours": float(
                (votes[test].argmax(1) == self.classes[test]).float().mean()
            ),
        }

    @override
    def sections(self, model: nn.Module, test: "Evaluation") -> list["Section"]:
        """Activation by class, and graphs tinted by activations."""
        from sma.training.tasks.graphs_section import graph_sections

        return graph_sections(self, model)

    def surroundings(self, nodes: Tensor, generator: torch.Generator) -> Batch:
        """Some nodes, `(k,)`, and what is drawn around them; only these are scored.

        `n_id` of the inputs, `(n,)` ascending, says which nodes of the whole graph they hold.
        """
        from torch_geometric.data import Data

        if self.sampler is None:
            everything, edge_index = torch.arange(len(self.x)), self.edge_index
        else:
            everything, edge_index = self.sampler.sample(nodes, generator)
        targets = torch.full((len(everything),), IGNORED)
        places = torch.searchsorted(everything, nodes)
        targets[places] = self.classes[nodes]
        return Batch(Data(x=self.x[everything], edge_index=edge_index, n_id=everything), targets)


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
        return NodeTask(
            data.x,
            data.edge_index,
            data.y,
            splits=splits,
            names=[str(number) for number in range(1, 35)],
            class_names=[f"faction {i}" for i in range(1, 5)],
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

        graph = read_wordnet(Path(self.folder), vocab_size=self.vocab_size, n_tokens=self.n_tokens)
        digit = torch.tensor([zlib.crc32(key.encode()) % 10 for key in graph.keys])
        chosen = {"training": digit >= 2, "validation": digit == 1, "test": digit == 0}
        return NodeTask(
            graph.tokens,
            graph.edge_index,
            graph.classes,
            splits={name: part.nonzero().squeeze(1) for name, part in chosen.items()},
            names=graph.names,
            class_names=CLASSES,
            title=f"WordNet: the lexical class of {len(graph.keys):,} synsets",
            facts={
                "SHA-256 of the data files": graph.digest,
                "split": "CRC-32 of part of speech and offset, modulo 10: 0 is test, 1 validation",
                "not told": "lexicographer file and part of speech of any synset, and the kind of a pointer",
            },
            sizes=self.sizes,
        )
