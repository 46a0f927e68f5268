"""The example plug-in, installed from its folder, works everywhere that the built-in kinds do."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PLUGIN = ROOT / "examples" / "plugin"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    site = tmp_path_factory.mktemp("site")
    install = ["pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--target", str(site)]
    source = tmp_path_factory.mktemp("source")
    for path in PLUGIN.glob("*.*"):
        (source / path.name).write_bytes(path.read_bytes())
    subprocess.run([sys.executable, "-m", *install, str(source)], check=True, env=_env())

    def run(*arguments, also=()):
        paths = os.pathsep.join(map(str, (site, *also, ROOT)))
        command = [sys.executable, *arguments]
        return subprocess.run(command, capture_output=True, text=True, env=_env(PYTHONPATH=paths), cwd=site)

    return run


def _env(**more):
    return {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "OMP_NUM_THREADS": "1", **more}


def test_its_contract_suites_pass(run):
    result = run("-m", "pytest", "-q", "-p", "no:cacheprovider", str(PLUGIN / "tests"), "-c", os.devnull)
    assert result.returncode == 0, result.stdout + result.stderr


def test_its_kind_works_in_yaml_save_load_and_schema(run, tmp_path):
    code = f"""
import torch
from sma.architectures import load_model, load_spec, save_model
from sma.architectures.families import ModelSpec
from sma.spec import json_schema
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
    result = run("-m", "sma.training.cli", "describe", str(PLUGIN / "model.yaml"))
    assert result.returncode == 0, result.stderr
    assert "memory_lookup" in result.stdout or "MemoryLookup" in result.stdout


def _package(folder, name, module, entry):
    info = folder / f"{name}-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[sma.specs]\n{entry}\n")
    (folder / f"{name}.py").write_text(module)
    return folder


FIND = """
import json
from sma.architectures.families import SubModuleSpec
from sma.spec import find
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


def test_a_package_that_fails_to_import_is_named_and_the_rest_works(run, tmp_path):
    broken = _package(tmp_path, "broken", "1 / 0\n", "broken_kind = broken:Spec")
    answer = json.loads(run("-c", FIND.format(kind="broken_kind"), also=[broken]).stdout)
    assert "'broken', which fails to import (ZeroDivisionError" in answer
    assert (
        json.loads(run("-c", FIND.format(kind="memory_lookup"), also=[broken]).stdout) == "MemoryLookupSpec"
    )


def test_a_kind_whose_package_is_missing_lists_what_exists(run):
    answer = json.loads(run("-c", FIND.format(kind="memory_lookups"), also=[]).stdout)
    assert "did you mean 'memory_lookup'?" in answer
    assert answer.endswith("; one of another package needs that package installed")
