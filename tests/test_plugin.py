"""The example plug-in, installed from its folder, works everywhere that the built-in kinds do."""

import json
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PLUGIN = ROOT / "examples" / "plugin"


EDITABLE = f"""
import sys
from importlib.util import spec_from_file_location
class Finder:
    def find_spec(self, name, path=None, target=None):
        return spec_from_file_location(name, {str(ROOT / "sma" / "__init__.py")!r}) if name == "sma" else None
sys.meta_path.append(Finder())
"""
"""Finds the package as an editable installation does, after everything that is on the path."""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Run Python in an environment of its own, in which the plug-in is installed."""
    home = tmp_path_factory.mktemp("environment")
    builder = venv.EnvBuilder(symlinks=os.name != "nt")
    builder.create(home)
    python = builder.ensure_directories(home).env_exe
    (site,) = home.rglob("site-packages")
    (site / "outer.pth").write_text(f"{sysconfig.get_path('purelib')}\nimport editable\n")
    (site / "editable.py").write_text(EDITABLE)
    source = tmp_path_factory.mktemp("source")
    for path in PLUGIN.glob("*.*"):
        (source / path.name).write_bytes(path.read_bytes())
    install = ["install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation", str(source)]
    subprocess.run([sys.executable, "-m", "pip", "--python", python, *install], check=True, env=_env())

    def run(*arguments, also=(), cwd=home):
        paths = os.pathsep.join(map(str, also))
        command = [python, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, env=_env(PYTHONPATH=paths), cwd=cwd)

    return run


def _env(**more):
    return {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "OMP_NUM_THREADS": "1", **more}


def test_its_contract_suites_pass_from_its_own_folder(run):
    result = run("-m", "pytest", "-q", "-p", "no:cacheprovider", str(PLUGIN / "tests"), "-c", os.devnull)
    assert result.returncode == 0, result.stdout + result.stderr


def test_its_contract_suites_pass_from_the_root_of_the_project(run):
    """As its README says, with this project's settings; tests/ holds an `sma` that must not be found."""
    assert "    pytest examples/plugin" in (PLUGIN / "README.md").read_text().splitlines()
    arguments = ["-q", "-p", "no:cacheprovider", "-k", "padding", "examples/plugin"]
    code = (
        f"import sys, pytest; sys.path.remove(''); sys.exit(pytest.main({arguments}))"  # the command pytest
    )
    result = run("-c", code, cwd=ROOT)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "passed" in result.stdout


def test_its_kind_works_in_yaml_save_load_and_schema(run, tmp_path):
    code = f"""
import torch
from sma.architectures import load_model, load_spec, save_model
from sma.architectures.models.base import ModelSpec
from sma.spec.schema import json_schema
spec = load_spec({str(PLUGIN / "model.yaml")!r})
model = spec.build()
save_model(model, {str(tmp_path)!r})
assert load_model({str(tmp_path)!r}).spec == spec
assert "MemoryLookupSpec" in json_schema(ModelSpec)["$defs"]
model(torch.zeros(1, 4, dtype=torch.long)).sum().backward()
"""
    result = run("-c", code)
    assert result.returncode == 0, result.stderr


def test_the_command_describes_it(run):
    result = run("-m", "sma.training.cli.app", "describe", str(PLUGIN / "model.yaml"))
    assert result.returncode == 0, result.stderr
    assert "memory_lookup" in result.stdout or "MemoryLookup" in result.stdout


def test_the_command_trains_it(run, tmp_path):
    (tmp_path / "texts").mkdir()
    for name in "abc":
        (tmp_path / "texts" / name).write_text(f"This is text {name}. " * 20)
    model = PLUGIN / "model.yaml"
    sizes = ("model.d_model=8", "task.length=32", "batch_size=2", "steps=2", f"task.folder={tmp_path}/texts")
    settings = [argument for size in sizes for argument in ("--set", size)]
    out = ("--task", "text_files", "--out", tmp_path, "--name", "run")
    result = run("-m", "sma.training.cli.app", "train", "--spec", model, *out, *settings)
    assert result.returncode == 0, result.stderr
    assert "memory_lookup" in (tmp_path / "run" / "spec.yaml").read_text()
    assert (tmp_path / "run" / "report.html").exists()


def _package(folder, name, module, entry):
    info = folder / f"{name}-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[sma.specs]\n{entry}\n")
    (folder / f"{name}.py").write_text(module)
    return folder


FIND = """
import json
from sma.architectures.specs.families import SubModuleSpec
from sma.spec.registry import find
import sma.architectures
try:
    result = find(SubModuleSpec, {kind!r}).__name__
except ValueError as error:
    result = str(error)
print(json.dumps(result))
"""


def test_two_packages_that_claim_one_kind_are_both_named(run, tmp_path):
    rival = "from sma_memory_lookup import MemoryLookupSpec as Base\nclass Rival(Base): pass\n"
    other = _package(tmp_path, "rival", rival, "memory_lookup = rival:Rival")
    answer = json.loads(run("-c", FIND.format(kind="memory_lookup"), also=[other]).stdout)
    assert "rival" in answer
    assert "sma-memory-lookup" in answer
    assert json.loads(run("-c", FIND.format(kind="gau"), also=[other]).stdout) == "GAUSpec"


def test_a_broken_package_is_named_and_the_rest_works(run, tmp_path):
    broken = _package(tmp_path, "broken", "raise SystemExit(3)", "gau = broken:Spec")
    result = run("-m", "sma.training.cli.app", "schema", also=[broken])
    assert {"GAUSpec", "MemoryLookupSpec"} <= json.loads(result.stdout)["$defs"].keys()
    message = "the entry point 'gau' of the package 'broken' fails to import (SystemExit: 3)"
    assert result.stderr == f"sma: warning: {message}; repair or uninstall it\n"
