"""A run that the command made."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml


@pytest.fixture
def spec_file(values: dict[str, Any], tmp_path: Path) -> Path:
    """A file with the fields of a tiny run."""
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where `run` is."""
    return tmp_path_factory.mktemp("shared")


@pytest.fixture
def run(sma: Callable[..., Any], spec_file: Path, shared_folder: Path) -> Path:
    """A finished run, made once."""
    path = shared_folder / "finished"
    if not path.exists():
        result = sma("train", "--spec", spec_file, "--out", shared_folder, "--name", "finished")
        assert result.exit_code == 0, result.output
    return path
