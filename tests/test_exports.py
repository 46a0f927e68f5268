"""The names that `sma.architectures` and its sub-packages export."""

import importlib
import pkgutil

import pytest

import sma.architectures
from sma import Spec
from sma.spec.registry import _registered

SUB_PACKAGES = [found.name for found in pkgutil.iter_modules(sma.architectures.__path__) if found.ispkg]
OURS = sorted(
    {spec for spec in _registered.values() if spec.__module__.startswith("sma.architectures.")},
    key=lambda spec: spec.__name__,
)


@pytest.mark.parametrize("spec", OURS, ids=lambda spec: spec.__name__)
def test_every_registered_spec_and_its_family_are_exported(spec):
    assert getattr(sma.architectures, spec.__name__) is spec
    assert getattr(sma.architectures, spec.family().__name__) is spec.family()
    assert {spec.__name__, spec.family().__name__} <= set(sma.architectures.__all__)


def test_every_kind_was_seen():
    assert len(OURS) > 45
    assert all(issubclass(spec, Spec) for spec in OURS)


@pytest.mark.parametrize("name", SUB_PACKAGES)
def test_the_package_collects_the_names_of_its_sub_packages(name):
    package = importlib.import_module(f"sma.architectures.{name}")
    assert package.__all__, "a sub-package exports its names"
    for public in package.__all__:
        assert getattr(sma.architectures, public) is getattr(package, public)
    assert set(package.__all__) <= set(sma.architectures.__all__) <= set(dir(sma.architectures))


def test_no_name_means_two_things():
    names = [name for package in SUB_PACKAGES for name in getattr(sma.architectures, package).__all__]
    assert len(names) == len(set(names))
    assert not set(names) & set(SUB_PACKAGES)


def test_published_weights_are_imported_from_their_package():
    from sma.architectures.published import layer_from_reference, model_from_reference

    assert callable(layer_from_reference)
    assert callable(model_from_reference)
