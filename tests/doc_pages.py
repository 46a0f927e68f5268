"""Running the code on a page: its blocks, from top to bottom, in one folder and one namespace.

| block | what is done with it |
| --- | --- |
| python | executed |
| yaml | read and built; a model computes gradients, a run is trained for a step |
| sh | `sma` commands are called; `pytest FILE` needs the file to have been written by a block before |
| sh elsewhere | not run: options of `sma`, extras that pip is asked for and targets of make must exist |
| any with title=NAME | written to that file |
| toml, json | read |
| text, and MyST's directives | left alone |
"""

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomllib
import torch
import yaml
from pydantic import TypeAdapter
from typer.main import get_command
from typer.testing import CliRunner

import sma
from sma import OneOf
from sma.architectures import parse_spec
from sma.architectures.models.base import ModelSpec
from sma.architectures.specs.families import BlockSpec, LayerSpec
from sma.spec.registry import kinds
from sma.training import TrainSpec, train
from sma.training.cli.app import app

ROOT = Path(sma.__file__).parents[1]
PAGES = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
_FENCE = re.compile(r"^```([^\n`]*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    Attributes:
        language: the first word after the fence.
        mark: what follows it.
        content: the lines inside.
        line: where it begins.
    """

    language: str
    mark: str
    content: str
    line: int

    @property
    def title(self) -> str | None:
        """The file that it is written to."""
        return self.mark.removeprefix("title=") if self.mark.startswith("title=") else None


def blocks(path: Path) -> Iterator[Block]:
    """The blocks of a page, but for MyST's directives."""
    text = path.read_text(encoding="utf-8")
    for found in _FENCE.finditer(text):
        language, _, mark = found[1].partition(" ")
        if not language.startswith("{"):
            yield Block(language, mark, found[2], text.count("\n", 0, found.start()) + 1)


def identity(path: Path) -> str:
    """How a test of a page is called."""
    return str(path.relative_to(ROOT).with_suffix("")).removeprefix("docs/")


class Runner:
    """Runs a page's blocks in the current folder.

    Args:
        page: where they stand, for errors.
    """

    def __init__(self, page: Path) -> None:
        self.page = page
        self.namespace: dict[str, Any] = {"__name__": "page"}

    def run(self, block: Block) -> None:
        """Do with a block what its language and mark ask for."""
        place = f"{self.page.name}:{block.line}"
        if block.title is not None:
            path = Path(block.title)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.content, encoding="utf-8")
        elif block.language == "python":
            exec(compile("\n" * block.line + block.content, str(self.page), "exec"), self.namespace)
        elif block.language == "yaml":
            build(yaml.safe_load(block.content))
        elif block.language == "sh":
            for line in commands(block.content):
                assert line, place
                (check if block.mark == "elsewhere" else call)(line)
        elif block.language in ("toml", "json"):
            (tomllib if block.language == "toml" else json).loads(block.content)
        else:
            assert block.language == "text", f"{place}: how is {block.language!r} tested?"


def build(values: dict[str, Any]) -> None:
    """Read a spec and build it; a model also computes gradients, and a run makes a step."""
    if values.get("kind", "training") == "training" and "task" in values:
        run, ending = train(TrainSpec.model_validate({**values, "steps": 1}), root="runs-of-blocks")
        assert ending == "finished", run
        return
    if "preset" not in values and values["kind"] not in kinds(ModelSpec):  # a part
        TypeAdapter(OneOf[LayerSpec | BlockSpec]).validate_python(values).build(32)
        return
    model = parse_spec(values).build()
    with sma.record() as recording:
        logits = model(torch.randint(256, (2, 20)))
    loss = logits.square().mean() + sum(recording.losses.values())
    loss.backward()
    assert loss.isfinite()
    assert all(parameter.grad is not None for parameter in model.parameters())


def commands(text: str) -> Iterator[list[str]]:
    """The command lines of a block, as words."""
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if words:
            yield words


def call(words: list[str]) -> None:
    """Run a command of `sma`; see that a test was written before pytest is called."""
    program, *arguments = words
    if program == "pytest":
        assert all(Path(name).is_file() for name in arguments), words
        return
    assert program == "sma", f"how is {program!r} tested? Mark the block as elsewhere if it cannot be"
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, f"{shlex.join(words)}\n{result.output}"


def check(words: list[str]) -> None:
    """See that a command line could be run: its options exist, and so do extras of this package."""
    if words[0] == "make":
        assert f"\n{words[1]}:" in (ROOT / "Makefile").read_text(), f"make has no target {words[1]}"
    if "sma" in words:
        name, *arguments = words[words.index("sma") + 1 :]
        options = {
            option for parameter in get_command(app).commands[name].params for option in parameter.opts
        }
        unknown = {word.partition("=")[0] for word in arguments if word.startswith("--")} - options
        assert not unknown, f"sma {name} has no option {', '.join(unknown)}"
    for extras in re.findall(r"(?:sparse-modular-activation|\.)\[([\w,-]+)\]", " ".join(words)):
        known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        assert set(extras.split(",")) <= set(known), extras
