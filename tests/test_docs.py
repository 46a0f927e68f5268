"""The examples in docstrings and on the pages run."""

import doctest
import importlib
import importlib.util
import inspect
import pkgutil
import re
import sys
from pathlib import Path

import pytest
import torch
import yaml
from pydantic import TypeAdapter
from torch import nn

import sma.architectures
import sma.modules
import sma.spec.registry
import sma.testing
from sma import Compaction, OneOf
from sma.architectures import parse_spec
from sma.architectures.models.base import ModelSpec
from sma.architectures.specs.families import LayerSpec
from sma.modules import MultiHeadEMA
from sma.testing import RouterContract, SequenceModuleContract
from sma.testing.contract import Contract
from sma.training import TrainSpec, train

OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
ROOT = Path(sma.__file__).parent
PAGES = [
    *(ROOT.parent / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")),
    *sorted((ROOT.parent / "docs").rglob("*.md")),
]
ARCHITECTURES = ROOT.parent / "docs" / "architectures.md"


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


def blocks(path, language):
    return re.findall(
        rf"^```{language}\n(.*?)^```", path.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )


@pytest.fixture(scope="module")
def plug_ins(tmp_path_factory):
    """The kinds that the page on architectures adds, in a module of their own."""
    path = tmp_path_factory.mktemp("plug_ins") / "plug_ins_of_the_page.py"
    path.write_text("\n\n".join(blocks(ARCHITECTURES, "python")))
    specification = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(specification)
    sys.modules[path.stem] = module
    specification.loader.exec_module(module)
    yield module
    del sys.modules[path.stem]
    for key, spec in list(sma.spec.registry._registered.items()):
        if spec.__module__ == path.stem:
            del sma.spec.registry._registered[key]


YAML = [
    pytest.param(block, id=f"{path.stem}-{number}")
    for path in PAGES
    for number, block in enumerate(blocks(path, "yaml"))
]


@pytest.mark.parametrize("block", YAML)
def test_yaml_on_the_pages_builds(block, plug_ins, tmp_path):
    values = yaml.safe_load(block)
    if values["kind"] == "training":
        spec = TrainSpec.model_validate({**values, "steps": 1})
        run, ending = train(spec, root=tmp_path)
        assert ending == "finished"
        assert run.spec() == spec
        return
    if values["kind"] not in sma.spec.registry.kinds(ModelSpec):  # a part
        TypeAdapter(OneOf[LayerSpec]).validate_python(values).build(32)
        return
    model = parse_spec(values).build()
    with sma.record() as recording:
        logits = model(torch.randint(256, (2, 20)))
    loss = logits.square().mean() + sum(recording.losses.values())
    loss.backward()
    assert loss.isfinite()
    assert all(parameter.grad is not None for parameter in model.parameters())


PYTHON = [pytest.param(path, id=path.stem) for path in PAGES if blocks(path, "python")]


@pytest.mark.parametrize("path", [page for page in PYTHON if page.values[0] != ARCHITECTURES])
def test_python_on_the_pages_runs(path, tmp_path, monkeypatch):
    """In the order of the page, in one namespace; the page on architectures is imported above."""
    monkeypatch.chdir(tmp_path)
    exec("\n".join(blocks(path, "python")), {"__name__": "page"})


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_files_and_modules_that_the_pages_name_exist(path):
    text = path.read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#]+)", text)
    missing = [link for link in links if "://" not in link and not (path.parent / link).exists()]
    prose = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    named = re.findall(r"`([\w./-]+)`", prose)
    folders = (
        "sma/",
        "modules/",
        "architectures/",
        "integrations/",
        "training/",
        "tests/",
        "docs/",
        "examples/",
        "benchmarks/",
    )
    missing += [name for name in named if name.startswith(folders) and not (ROOT.parent / name).exists()]
    for name in named:
        if re.fullmatch(r"sma(\.\w+)+", name) and name != "sma.specs":  # the group of entry points
            try:
                pkgutil.resolve_name(name)
            except (ImportError, AttributeError):
                missing.append(name)
    assert not missing


def test_plug_ins_on_the_page_decode(plug_ins):
    (block,) = (block for block in blocks(ARCHITECTURES, "yaml") if "prototype" in block)
    model = parse_spec(yaml.safe_load(block)).build().eval()
    tokens = torch.randint(256, (2, 9))
    with torch.no_grad():
        _, state = model.prefill(tokens[:, :-1])
        torch.testing.assert_close(model.step(tokens[:, -1], state), model(tokens)[:, -1])


class TestRouterOnThePage(RouterContract):
    @pytest.fixture(autouse=True)
    def _page(self, plug_ins):
        self.page = plug_ins

    def make(self):
        return self.page.PrototypeRouter(self.d_model, 2, 0.1)


class TestBlockOnThePage(SequenceModuleContract):
    @pytest.fixture(autouse=True)
    def _page(self, plug_ins):
        self.page = plug_ins

    def make(self):
        return self.page.Highway(self.d_model, MultiHeadEMA(self.d_model, d_state=2))
