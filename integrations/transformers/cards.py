"""Model cards: what a model consists of, what it was trained on, how well it does, and how to load it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sma.architectures.files.atomic import write_whole
from sma.architectures.files.yaml import dump_spec
from sma.architectures.models.base import ModelSpec

CARD_FILE = "README.md"

_AUTO = {
    "SMAForCausalLM": ("AutoModelForCausalLM", "text-generation"),
    "SMAForSequenceClassification": ("AutoModelForSequenceClassification", "text-classification"),
    "SMAForTokenClassification": ("AutoModelForTokenClassification", "token-classification"),
}
_PLAIN = """\
from sma.transformers import hub

model = hub.load("PATH")"""
_TRANSFORMERS = """\
import sma.transformers
from transformers import {auto}

model = {auto}.from_pretrained("PATH")"""


@dataclass(frozen=True)
class CardFacts:
    """What a model card says about a model's training.

    Attributes:
        title: one line that names the data.
        data: what one must know of the data to repeat the training, by name.
        figures: what was measured, by name.
        activation_rates: per SMA layer, the share of elements that activated each sub-module.
        versions: of packages.

    Example:
        >>> CardFacts(title="books", figures={"bits per byte": "1.75"}).title
        'books'
    """

    title: str
    data: Mapping[str, str] = field(default_factory=dict)
    figures: Mapping[str, str] = field(default_factory=dict)
    activation_rates: Mapping[str, Sequence[float]] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)


def model_card(spec: ModelSpec, facts: CardFacts | None = None, *, wrapper: str | None = None) -> str:
    """The text of README.md, with the fields that the Hub reads at its top.

    Args:
        spec: of the model.
        facts: about its training; None for a model about which nothing is known.
        wrapper: the class of `sma.transformers` that was saved; None for a plain model.

    Example:
        >>> from sma.architectures import seqboat
        >>> card = model_card(seqboat(vocab_size=9, d_model=16, n_layers=1), CardFacts(title="books"))
        >>> "# Trained on books" in card, "hub.load" in card, "vocab_size: 9" in card
        (True, True, True)
    """
    auto, pipeline = _AUTO.get(wrapper or "", ("AutoModel", None))
    library = "sma" if wrapper is None else "transformers"
    fields = [f"library_name: {library}", *([f"pipeline_tag: {pipeline}"] if pipeline else [])]
    loading = _PLAIN if wrapper is None else _TRANSFORMERS.format(auto=auto)
    heading = f"Trained on {facts.title}" if facts is not None else f"A {spec.kind} of sma"
    parts = [
        "\n".join(["---", *fields, "tags:", "- sparse-modular-activation", "---"]),
        f"# {heading}",
        "A model with Sparse Modular Activation (https://arxiv.org/abs/2306.11197): every element decides "
        "which sub-modules it activates, and skips the rest.",
        *([] if facts is None else _training(facts)),
        "## How to load it",
        "    pip install 'sparse-modular-activation[transformers]'",
        f"```python\n{loading}  # this folder, or the name of its repository\n```",
        "## Spec",
        f"```yaml\n{dump_spec(spec)}```",
    ]
    return "\n\n".join(parts) + "\n"


def write_card(
    folder: Path, spec: ModelSpec, facts: CardFacts | None = None, *, wrapper: str | None = None
) -> None:
    """Write README.md into a folder; without facts one that is there stays."""
    path = folder / CARD_FILE
    if facts is not None or not path.exists():
        write_whole(path, model_card(spec, facts, wrapper=wrapper))


def _training(facts: CardFacts) -> list[str]:
    """The sections about data, figures and activation."""
    rates = {name: ", ".join(f"{rate:.1%}" for rate in each) for name, each in facts.activation_rates.items()}
    tables = (
        ("Data", "", facts.data),
        ("Figures", "", facts.figures),
        ("Activation", "The share of test elements that activated each sub-module, by layer.", rates),
        ("Versions", "", facts.versions),
    )
    sections = []
    for heading, lead, values in tables:
        if values:
            sections += [f"## {heading}", *([lead] if lead else []), _table(values)]
    return sections


def _table(values: Mapping[str, str]) -> str:
    rows = [f"| {_cell(name)} | {_cell(value)} |" for name, value in values.items()]
    return "\n".join(["| | |", "| --- | --- |", *rows])


def _cell(text: str) -> str:
    return " ".join(str(text).split()).replace("|", "\\|")
