"""The shape of the packages: imports, folders, names, and tests that mirror the sources."""

import ast
import importlib.util
import subprocess
import sys
from collections import Counter
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
FOLDERS = {
    "sma": "sma",
    "sma.modules": "modules",
    "sma.architectures": "architectures",
    "sma.transformers": "integrations/transformers",
    "sma.training": "training",
}
"""The packages, lowest level first, and where they stand."""
PACKAGES = tuple(FOLDERS)
TOP_FOLDERS = {folder.partition("/")[0] for folder in FOLDERS.values()}
ABOVE = ("examples", "benchmarks", "tests")
MOST_FILES = 16
"""Of one kind of thing, in one folder; sections of the report are another kind than tasks."""
SAME_NAME = {
    "sma.modules": {"convolution"},  # of sequences, of graphs
    "sma.architectures": {"graph"},  # specs, a model, presets
    "sma.training": {"listops", "pathfinder", "recall"},  # a generator, and the task on its data
}


def sources(folder):
    """The folder's Python files; the links inside sma/ lead to other packages."""
    for path in sorted((ROOT / folder).rglob("*.py")):
        if not any(
            parent.is_symlink() for parent in path.parents if parent != ROOT and ROOT in parent.parents
        ):
            yield path


def module_name(path):
    """`sma.modules.routers.top_k` of modules/routers/top_k.py; a package's name of its `__init__.py`."""
    path = path.relative_to(ROOT).with_suffix("")
    package = next(name for name, folder in FOLDERS.items() if path.is_relative_to(folder))
    parts = path.relative_to(FOLDERS[package]).parts
    return ".".join((package, *(part for part in parts if part != "__init__")))


@cache
def modules():
    """The path of every module, by its dotted name."""
    return {module_name(path): path for folder in FOLDERS.values() for path in sources(folder)}


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
    """The statements that run when a file is imported; type checkers' imports do not."""
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


def imported_modules(path, known):
    """The modules among `known` whose names a file takes, wherever in it the import stands.

    `from a import b` takes the module `a.b` if there is one, else a name of `a`.
    """
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom):
            full = (f"{node.module}.{alias.name}" for alias in node.names)
            yield from (name for name in (n if n in known else node.module for n in full) if name in known)


@cache
def graph():
    """Of every module, the other modules of this project that it imports."""
    return {name: set(imported_modules(path, modules())) - {name} for name, path in modules().items()}


def circle(edges):
    """Some circle in a mapping from each node to those that it needs, as text; None if there is none."""
    try:
        TopologicalSorter(edges).prepare()
    except CycleError as error:
        return " needs ".join(reversed(error.args[1]))
    return None


def level(name):
    """The index into PACKAGES of the package that a dotted name belongs to; None if it is not ours."""
    if name.split(".")[0] != "sma":
        return None
    return max(i for i, package in enumerate(PACKAGES) if f"{name}.".startswith(f"{package}."))


def files():
    return [
        pytest.param(package, path, id=str(path.relative_to(ROOT)))
        for package in PACKAGES
        for path in sources(FOLDERS[package])
    ]


def starts_with(name, *packages):
    return any(f"{name}.".startswith(f"{package}.") for package in packages)


@pytest.mark.parametrize(("package", "path"), files())
def test_imports_go_down_only(package, path):
    here = PACKAGES.index(package)
    up = {name for name in imports(path) if (level(name) or 0) > here}
    assert not up, f"{package} must not import from above: {up}"
    bare = {name for name in imports(path) if starts_with(name, *TOP_FOLDERS, *ABOVE) and level(name) is None}
    assert not bare, f"import these from sma, or not at all: {bare}"


def test_no_file_needs_itself():
    """Not even by way of imports inside functions, or of those that only type checkers read."""
    assert circle(graph()) is None


@pytest.mark.parametrize("package", PACKAGES)
def test_no_folder_needs_itself(package):
    """Inside a package, too, imports go one way: between its sub-packages and the files beside them."""

    def place(name):  # the sub-package, or the file beside it
        return ".".join(name.split(".")[: package.count(".") + 2])

    inside = {name for name in modules() if PACKAGES[level(name)] == package}
    edges = {place(name): set() for name in inside}
    for name in inside:
        edges[place(name)] |= {place(other) for other in graph()[name] & inside} - {place(name)}
    assert circle(edges) is None


def test_no_file_imports_a_face_of_a_package_that_it_belongs_to():
    """`from sma.modules.routers.top_k import ...` in modules/, not `from sma.modules import ...`."""
    found = [
        f"{name} imports {face}"
        for name, needed in graph().items()
        for face in needed
        if modules()[face].name == "__init__.py" and modules()[face].parent in modules()[name].parents
    ]
    assert not found


@pytest.mark.parametrize("folder", sorted({path.parent for path in modules().values()}))
def test_folders_can_be_read_at_a_glance(folder):
    entries = {"__init__.py", "__main__.py"}
    names = sorted(path.name for path in folder.glob("*.py") if path.name not in entries)
    shown = folder.relative_to(ROOT)
    for kind, count in Counter(name.endswith("_section.py") for name in names).items():
        files = "sections" if kind else "files"
        assert count <= MOST_FILES, f"{shown}/ holds {count} {files}; give those of one kind a folder"
    twice = [name for name in names if (folder / name.removesuffix(".py")).is_dir()]
    assert not twice, f"{shown}/ holds a folder of the same name beside {twice}"


@pytest.mark.parametrize("folder", [*FOLDERS.values(), *ABOVE])
def test_docstrings_of_modules_say_what_they_contain(folder):
    """A phrase that names it, such as "Routers with a fixed number of activations", not "What routes"."""
    first = {path: ast.get_docstring(ast.parse(path.read_text())) or "" for path in sources(folder)}
    wrong = [
        str(path.relative_to(ROOT)) for path, text in first.items() if text.startswith(("What ", "How "))
    ]
    missing = [str(path.relative_to(ROOT)) for path, text in first.items() if not text and folder != "tests"]
    missing = [path for path in missing if not path.startswith("examples/plugin/tests")]
    assert not wrong + missing


@pytest.mark.parametrize("folder", sorted(FOLDERS.values()))
def test_tests_mirror_the_sources(folder):
    """tests/sma/test_elements.py tests sma/elements.py; what cuts across them is in `properties`."""
    tests = (path.relative_to(ROOT / "tests") for path in (ROOT / "tests" / folder).rglob("test_*.py"))
    missing = [
        f"tests/{path} has no source"
        for path in sorted(tests)
        if "properties" not in path.parts
        and not (ROOT / path.with_name(path.name.removeprefix("test_"))).is_file()
    ]
    assert not missing, "name each after its source, or move it to properties"


@pytest.mark.parametrize("package", PACKAGES)
def test_no_two_modules_of_a_package_have_one_name(package):
    count = Counter(path.stem for path in sources(FOLDERS[package]) if path.name != "__init__.py")
    twice = {name for name, n in count.items() if n > 1}
    assert twice == SAME_NAME.get(package, set())


def test_the_wheel_holds_every_package():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert sorted(settings["packages"]) == sorted(
        {module_name(path.parent / "__init__.py") for path in modules().values()}
    )
    assert settings["package-dir"] == FOLDERS


def test_the_wheel_holds_every_template():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    missing = []
    for name, path in modules().items():
        if path.name != "__init__.py":
            continue
        patterns = settings["package-data"]["*"] + settings["package-data"].get(name, [])
        beside = (file for file in path.parent.iterdir() if file.is_file() and file.suffix != ".py")
        missing += [str(file.relative_to(ROOT)) for file in beside if not any(map(file.match, patterns))]
    assert not missing, "add them to package-data in pyproject.toml"


@pytest.mark.parametrize(("package", "path"), files())
def test_what_only_tests_need_is_imported_only_by_sma_testing(package, path):
    """And by the command that checks a model, inside its function."""
    if path.is_relative_to(ROOT / "sma" / "testing"):
        return
    if path == ROOT / "training" / "cli" / "checking.py":
        assert not {name for name in imports(path, module_level=True) if starts_with(name, "sma.testing")}
        return
    found = {name for name in imports(path) if starts_with(name, "hypothesis", "pytest", "sma.testing")}
    assert not found


@pytest.mark.parametrize(("package", "path"), files())
def test_torch_geometric_is_imported_where_it_is_used(package, path):
    found = {name for name in imports(path, module_level=True) if starts_with(name, "torch_geometric")}
    assert not found, "it takes seconds to import: import it inside the function that uses it"


def loaded_by(statement):
    """Top-level modules that a statement loads in a fresh interpreter."""
    code = f"import sys; {statement}; print(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(done.stdout.split())


def test_what_the_packages_load():
    everything = "import sma, sma.modules, sma.architectures, sma.plots; import sma.training.cli.display"
    not_these = {"hypothesis", "pytest", "torch_geometric", "matplotlib", "sklearn", "transformers", "peft"}
    assert not loaded_by(everything) & {*not_these, "accelerate", "huggingface_hub"}
    assert not loaded_by("import sma, sma.training.cli.app") & {"torch", "pydantic", "yaml", "numpy"}


def test_reading_a_run_knows_the_tasks():
    """The package of tasks registers its own kinds: whoever imports `TrainSpec` alone can read a run."""
    statement = (
        "from sma.training.config import TrainSpec, TaskSpec; from sma.spec.registry import kinds; "
        "assert {'digits', 'karate', 'python_source', 'text_files', 'wordnet'} <= set(kinds(TaskSpec))"
    )
    assert "torch" in loaded_by(statement)


def test_the_scanner_sees_every_kind_of_import(tmp_path):
    path = tmp_path / "sample.py"
    path.write_text(
        "import a.b\nfrom c import d\nif TYPE_CHECKING:\n    import e\n"
        "try:\n    import f\nexcept ImportError:\n    pass\nclass C:\n    import g\ndef h():\n    import i\n"
    )
    assert set(imports(path, module_level=True)) == {"a.b", "c", "c.d", "f", "g"}
    assert set(imports(path)) == {"a.b", "c", "c.d", "e", "f", "g", "i"}
    assert set(imported_modules(path, {"a", "a.b", "c", "e", "i"})) == {"a.b", "c", "e", "i"}
    assert set(imported_modules(path, {"c", "c.d"})) == {"c.d"}
    assert [level(name) for name in ("sma", "sma.modulesque", "sma.modules.ssm", "torch")] == [0, 0, 1, None]


def test_circles_are_found():
    assert circle({"a": {"b"}, "b": {"c"}, "c": set()}) is None
    found = circle({"a": {"b"}, "b": {"c"}, "c": {"b"}})
    assert found in ("b needs c needs b", "c needs b needs c")


def test_modules_have_the_names_that_they_are_imported_by():
    assert modules()["sma.modules"] == ROOT / "modules" / "__init__.py"
    assert modules()["sma.spec.base"] == ROOT / "sma" / "spec" / "base.py"
    assert "sma.spec.registry" in graph()["sma.spec.schema"]
    assert "sma.training.tasks.rows_section" in graph()["sma.training.tasks.rows_task"]  # inside a function


@pytest.mark.parametrize("package", PACKAGES[1:])
def test_the_bare_name_leads_to_the_right_one(package):
    bare = FOLDERS[package].replace("/", ".")
    spec = importlib.util.spec_from_file_location(bare, ROOT / FOLDERS[package] / "__init__.py")
    with pytest.raises(ImportError, match=rf"import {package}\b.*\b{bare}\b"):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


@pytest.mark.parametrize("package", PACKAGES[1:])
def test_the_folder_is_the_package(package):
    found = Path(importlib.util.find_spec(package).origin)
    assert found.resolve() == (ROOT / FOLDERS[package] / "__init__.py").resolve()
