"""The family of architectures as a table: rewrites the one in docs/architectures.md.

    python -m benchmarks.family

All with D 128, four layers, a vocabulary of 256 (of graphs, 256 features and classes) and otherwise default
sizes, as in examples/*.yaml.
"""

from pathlib import Path

import sma.architectures
from sma.architectures.models.base import Model
from sma.training.report.description import describe, operations

PAGE = Path(__file__).parents[1] / "docs" / "architectures.md"
SIZES = {"d_model": 128, "n_layers": 4}
TOKENS = {"vocab_size": 256}
NODES = {"d_input": 256, "n_classes": 256}
ROUTED = {
    "seqboat": "attention, per element",
    "seqboat_full": "attention, per element, without a window",
    "gau_always": "nothing: every element attends",
    "ssm_only": "nothing: no attention",
    "mega": "nothing: every element attends to the whole row",
    "mega_chunk": "nothing: every element attends to its chunk",
    "transformer": "nothing: every element attends to the whole row",
    "local_attention": "nothing: every element attends to a window",
    "mixture_of_depths": "every other block: an eighth of the elements passes through it",
    "switch": "one of 8 feed-forwards",
    "mixtral_like": "2 of 8 gated feed-forwards",
    "moe_seqboat": "attention, per element; 2 of 8 gated feed-forwards",
    "sma_all": "attention, a feed-forward and a convolution, in any combination",
    "graph_network": "a graph convolution, per node",
}
BEGIN, END = "<!-- table begins -->", "<!-- table ends -->"


def row(name: str) -> str:
    ends = NODES if name == "graph_network" else TOKENS
    model: Model = getattr(sma.architectures, name)(**SIZES, **ends).build()
    n_parameters = sum(parameter.numel() for parameter in model.parameters())
    always, at_most = operations(describe(model))
    return f"| `{name}` | {n_parameters:,} | {always:,.0f} | {at_most:,.0f} | {ROUTED[name]} |"


def main() -> None:
    head = [
        "| preset | parameters | operations, nothing active | at most | what is routed |",
        "| --- | --- | --- | --- | --- |",
    ]
    table = "\n".join([*head, *map(row, ROUTED)])
    before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n{table}\n{END}{rest.split(END)[1]}", encoding="utf-8")
    print(table)


if __name__ == "__main__":
    main()
