"""Every example runs as it stands."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from sma.architectures import parse_spec

FOLDER = Path(__file__).parents[1] / "examples"
SPECS = [
    path
    for path in sorted(FOLDER.glob("*.yaml"))
    if yaml.safe_load(path.read_text())["kind"] == "sequence_model"
]
SLOW = {"wordnet.py"}  # needs a Debian package, and minutes


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_spec_builds_and_runs(path):
    model = parse_spec(yaml.safe_load(path.read_text())).build()
    logits = model(torch.randint(256, (1, 300)))
    assert logits.shape == (1, 300, 256)
    assert logits.isfinite().all()


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.stem)
def test_program_runs(path, tmp_path):
    if path.name in SLOW:
        pytest.skip("needs a Debian package, and minutes")
    result = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
