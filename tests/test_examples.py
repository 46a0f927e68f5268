"""Every example runs as it stands."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

import sma.architectures
from sma.architectures import parse_spec

FOLDER = Path(__file__).parents[1] / "examples"
SPECS = {path: yaml.safe_load(path.read_text()) for path in sorted(FOLDER.glob("*.yaml"))}
MODELS = [path for path, values in SPECS.items() if values["kind"] == "sequence_model"]
TABLE = re.findall(r"^\| `(\w+)` \|", (FOLDER.parent / "docs" / "architectures.md").read_text(), re.MULTILINE)
SLOW = {"wordnet.py"}  # needs a Debian package, and minutes


def written_out(spec):
    """A model's spec without repeats and stacks."""

    def every(blocks):
        for block in blocks:
            inside = block.blocks if block.kind == "stack" else ()
            once = block.model_copy(update={"repeat": 1})
            for _ in range(block.repeat):
                yield from every(inside) if inside else (once,)

    return spec.model_copy(update={"blocks": tuple(every(spec.blocks))})


@pytest.mark.parametrize("name", TABLE)
def test_every_architecture_has_a_file_of_what_its_preset_gives(name):
    ends = {"d_input": 256, "n_classes": 256} if name == "graph_network" else {"vocab_size": 256}
    preset = getattr(sma.architectures, name)(d_model=128, n_layers=4, **ends)
    assert written_out(parse_spec(SPECS[FOLDER / f"{name}.yaml"])) == written_out(preset)


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
def test_spec_builds_and_runs(path):
    model = parse_spec(SPECS[path]).build()
    logits = model(torch.randint(256, (1, 300)))
    assert logits.shape == (1, 300, 256)
    assert logits.isfinite().all()


def test_graph_spec_builds_and_runs():
    from torch_geometric.data import Data

    model = parse_spec(SPECS[FOLDER / "graph_network.yaml"]).build()
    data = Data(x=torch.randn(9, 256), edge_index=torch.randint(9, (2, 30)))
    assert model(data).isfinite().all()


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.stem)
def test_program_runs(path, tmp_path):
    if path.name in SLOW:
        pytest.skip("needs a Debian package, and minutes")
    result = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    if path.name == "karate.py":
        _check_page(result.stdout)


def _check_page(printed):
    """docs/graphs.md has the figures that the program prints, but for what arithmetic differs by."""
    page = (FOLDER.parent / "docs" / "graphs.md").read_text(encoding="utf-8")
    told = re.search(
        r"(\S+) routed with (\d+) % active, (\S+)\s+with all active, (\S+) with none", page
    ).groups()
    rights = dict(re.findall(r"(\w+): (\S+) of 30 right", printed))
    active = dict(re.findall(r"(\w+): .* right, (\d+)% active", printed))
    for name, right in zip(("routed", "everybody", "nobody"), (told[0], *told[2:]), strict=True):
        assert float(rights[name]) == pytest.approx(float(right), abs=1)
    assert int(active["routed"]) == pytest.approx(int(told[1]), abs=3)
