"""Imports go down only, what is heavy waits until it is used, and bare names lead to the right ones."""

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
STOREYS = ("sma", "sma.modules", "sma.architectures", "sma.training")
FOLDERS = {
    "sma": "sma",
    "sma.modules": "modules",
    "sma.architectures": "architectures",
    "sma.training": "training",
}
ABOVE = ("examples", "benchmarks", "tests")


def sources(folder):
    """The folder's Python files; the links inside sma/ lead to other storeys."""
    for path in sorted((ROOT / folder).rglob("*.py")):
        if not any(
            parent.is_symlink() for parent in path.parents if parent != ROOT and ROOT in parent.parents
        ):
            yield path


def imports(path, *, module_level=False):
    """Names that a file imports, `from a import b` as both `a` and `a.b`."""
    tree = ast.parse(path.read_text())
    for node in _outside_functions(tree) if module_level else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: write imports in full"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _outside_functions(tree):
    """What runs when a file is imported; type checkers' imports do not."""
    todo = list(tree.body)
    while todo:
        node = todo.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            todo += node.orelse
            continue
        yield node
        todo += ast.iter_child_nodes(node)


def storey(name):
    """The storey that a dotted name belongs to: an index into STOREYS, or None if it is not ours."""
    if name.split(".")[0] != "sma":
        return None
    return max(i for i, package in enumerate(STOREYS) if f"{name}.".startswith(f"{package}."))


def files():
    return [
        pytest.param(package, path, id=str(path.relative_to(ROOT)))
        for package in STOREYS
        for path in sources(FOLDERS[package])
    ]


def starts_with(name, *packages):
    return any(f"{name}.".startswith(f"{package}.") for package in packages)


@pytest.mark.parametrize(("package", "path"), files())
def test_imports_go_down_only(package, path):
    here = STOREYS.index(package)
    up = {name for name in imports(path) if (storey(name) or 0) > here}
    assert not up, f"{package} must not import from above: {up}"
    bare = {
        name
        for name in imports(path)
        if starts_with(name, *FOLDERS.values(), *ABOVE) and storey(name) is None
    }
    assert not bare, f"import these from sma, or not at all: {bare}"


@pytest.mark.parametrize(("package", "path"), files())
def test_what_only_tests_need_is_imported_only_by_sma_testing(package, path):
    if path.is_relative_to(ROOT / "sma" / "testing"):
        return
    found = {name for name in imports(path) if starts_with(name, "hypothesis", "pytest", "sma.testing")}
    assert not found


@pytest.mark.parametrize(("package", "path"), files())
def test_torch_geometric_is_imported_where_it_is_used(package, path):
    found = {name for name in imports(path, module_level=True) if starts_with(name, "torch_geometric")}
    assert not found, "it takes seconds to import: import it inside the function that uses it"


def test_the_command_line_imports_no_torch_by_itself():
    names = imports(ROOT / "training" / "cli" / "app.py", module_level=True)
    assert not [name for name in names if starts_with(name, "torch")]


def loaded_by(statement):
    """Top-level modules that a statement loads in a fresh interpreter."""
    code = f"import sys; {statement}; print(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(done.stdout.split())


def test_what_the_packages_load():
    everything = "import sma, sma.modules, sma.architectures; sma.SMA"
    assert not loaded_by(everything) & {"hypothesis", "pytest", "torch_geometric", "matplotlib", "sklearn"}
    assert "torch" not in loaded_by("import sma, sma.training.cli.app")


def test_the_scanner_sees_every_kind_of_import(tmp_path):
    path = tmp_path / "sample.py"
    path.write_text(
        "import a.b\nfrom c import d\nif TYPE_CHECKING:\n    import e\n"
        "try:\n    import f\nexcept ImportError:\n    pass\nclass C:\n    import g\ndef h():\n    import i\n"
    )
    assert set(imports(path, module_level=True)) == {"a.b", "c", "c.d", "f", "g"}
    assert set(imports(path)) == {"a.b", "c", "c.d", "e", "f", "g", "i"}
    assert [storey(name) for name in ("sma", "sma.modulesque", "sma.modules.ssm", "torch")] == [
        0,
        0,
        1,
        None,
    ]


@pytest.mark.parametrize("package", STOREYS[1:])
def test_the_bare_name_leads_to_the_right_one(package):
    bare = FOLDERS[package]
    spec = importlib.util.spec_from_file_location(bare, ROOT / bare / "__init__.py")
    with pytest.raises(ImportError, match=rf"import {package}\b.*\b{bare}\b"):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


@pytest.mark.parametrize("package", STOREYS[1:])
def test_the_folder_is_the_package(package):
    found = Path(importlib.util.find_spec(package).origin)
    assert found.resolve() == (ROOT / FOLDERS[package] / "__init__.py").resolve()
