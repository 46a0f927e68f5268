"""The examples in docstrings run."""

import doctest
import importlib
import inspect
import pkgutil

import pytest
import torch
from torch import nn

import sma.architectures
import sma.modules
import sma.spec.registry
import sma.testing
from sma import Compaction
from sma.testing.contract import Contract

OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def module_names():
    yield "sma"
    yield from (found.name for found in pkgutil.walk_packages(sma.__path__, "sma."))


@pytest.mark.parametrize("name", list(module_names()))
def test_examples_run(name, capsys):
    torch.manual_seed(0)
    failed, _ = doctest.testmod(importlib.import_module(name), optionflags=OPTIONS)
    assert not failed, capsys.readouterr().out


def public_modules():
    for package in (sma, sma.modules, sma.architectures, sma.testing):
        for name in package.__all__:
            thing = getattr(package, name)
            if inspect.isclass(thing) and issubclass(thing, nn.Module | Compaction | Contract):
                yield pytest.param(thing, id=f"{package.__name__}.{name}")


@pytest.mark.parametrize("cls", list(public_modules()))
def test_every_public_class_has_an_example(cls):
    if not inspect.isabstract(cls):
        assert ">>>" in cls.__doc__, "give its docstring a runnable example"
