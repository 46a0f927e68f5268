"""Lazy packages: all their names and modules are attributes, and little is imported."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import sma
import sma.training
from sma.lazy import MissingPackageError, needs

ROOT = Path(__file__).parents[2]


def fresh(code):
    """The JSON that a fresh interpreter prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return json.loads(done.stdout)


@pytest.mark.parametrize("package", [sma, sma.training], ids=lambda package: package.__name__)
def test_every_name_and_every_module_is_listed_and_found(package):
    folder = Path(package.__file__).parent
    modules = {path.stem for path in folder.glob("[!_]*.py")}
    modules |= {path.parent.name for path in folder.glob("*/__init__.py")}
    assert modules | set(package.__all__) <= set(dir(package))
    for name in package.__all__:
        assert callable(getattr(package, name))
    for name in modules - set(package.__all__):
        assert getattr(package, name).__name__ == f"{package.__name__}.{name}"


def test_a_name_of_a_package_above_is_found_when_it_is_used():
    code = "import sys, sma; known = 'sparsify' in dir(sma), 'transformers' in sys.modules; "
    code += "import json; print(json.dumps([*known, sma.sparsify.__module__, 'sparsify' in sma.__all__]))"
    assert fresh(code) == [True, False, "sma.transformers.sparsification.saving", False]


def test_modules_are_attributes_after_a_plain_import():
    names = ["plots", "sequence", "state", "testing", "modules", "architectures", "training", "spec"]
    found = fresh(f"import json, sma; print(json.dumps([getattr(sma, n).__name__ for n in {names}]))")
    assert found == [f"sma.{name}" for name in names]


def test_listing_imports_nothing_heavy():
    listed = "dir(sma), dir(sma.training)"
    assert not fresh(f"import json, sys, sma; {listed}; print(json.dumps('torch' in sys.modules))")


def test_a_module_does_not_hide_the_function_of_its_name():
    code = (
        "import json, sma.training.train; from sma.training import train; print(json.dumps(str(type(train))))"
    )
    assert fresh(code) == "<class 'function'>"


def test_an_unknown_name_is_an_attribute_error():
    assert not hasattr(sma, "nonsense")
    assert not hasattr(sma.training, "_nonsense")


@pytest.mark.parametrize("error", [ImportError, ValueError])
def test_a_missing_package_is_named_with_its_extra(error):
    with (
        pytest.raises(error, match=r"a picture needs the package nowhere \(.*\); .*activation\[plots\]'$"),
        needs("plots", "a picture"),
    ):
        import nowhere.inside  # noqa: F401


def test_a_package_that_is_damaged_is_named_and_other_errors_pass(tmp_path, monkeypatch):
    (tmp_path / "damaged.py").write_text("from json import nonsense")
    (tmp_path / "wrong.py").write_text("{}[0]")
    monkeypatch.syspath_prepend(tmp_path)
    with (
        pytest.raises(MissingPackageError, match=r"needs the package json \(cannot import name 'nonsense'"),
        needs("plots", "a picture"),
    ):
        import damaged  # noqa: F401
    with pytest.raises(KeyError), needs("plots", "a picture"):
        import wrong  # noqa: F401
