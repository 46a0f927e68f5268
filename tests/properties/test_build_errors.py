"""Messages when the code of a spec fails; the kinds are those of a package with mistakes."""

from importlib.metadata import EntryPoint
from typing import Any, Literal

import pytest
import torch
from pydantic import ValidationError
from torch import nn

import sma.spec.registry
from sma import Pointwise, register
from sma.architectures import parse_spec
from sma.architectures.specs.families import HeadSpec, NormSpec, RouterSpec, SubModuleSpec

ROUTED = "blocks.0.branches.0"
PLACES = {
    SubModuleSpec: f"{ROUTED}.modules.0",
    RouterSpec: f"{ROUTED}.router",
    NormSpec: "norm",
    HeadSpec: "head",
}
result: dict[str, Any] = {}


def build(self, *arguments):
    return result["of"](*arguments)


def plug_in(family):
    kind = f"my_{family.__name__}"
    fields = {
        "__annotations__": {"kind": Literal[kind]},
        "kind": kind,
        "build": build,
        "__module__": __name__,
    }
    return register(type(f"My{family.__name__}", (family,), fields))


KINDS = {family: plug_in(family) for family in PLACES}


@pytest.fixture(autouse=True)
def _installed(monkeypatch):
    point = EntryPoint("other", f"{__name__}:Other", sma.spec.registry.ENTRY_POINT_GROUP)
    monkeypatch.setattr(sma.spec.registry, "_entry_points", lambda: (point,))
    monkeypatch.setattr(sma.spec.registry, "_package", lambda point: "my-package")


@pytest.fixture(scope="module", autouse=True)
def _registered_here_only():
    yield
    for spec in KINDS.values():
        del sma.spec.registry._registered[spec.family(), spec.model_fields["kind"].default]


def model(family):
    """A model with a part of the package, and what its building gives."""
    parts = {
        SubModuleSpec: {"kind": "feed_forward", "d_hidden": 3},
        RouterSpec: "sigmoid",
        HeadSpec: "language_model",
    }
    parts |= {NormSpec: "layer_norm", family: f"my_{family.__name__}"}
    routed = {"kind": "sma", "router": parts[RouterSpec], "modules": [parts[SubModuleSpec]]}
    return {
        "kind": "sequence_model",
        "d_model": 4,
        "embedding": {"kind": "tokens", "vocab_size": 5},
        "blocks": [{"kind": "residual", "branches": [routed]}],
        "norm": parts[NormSpec],
        "head": parts[HeadSpec],
    }


def message(family, function):
    result["of"] = function
    with pytest.raises(ValidationError) as caught:
        parse_spec(model(family))
    (mistake,) = caught.value.errors()
    return mistake["msg"]


@pytest.mark.parametrize("family", PLACES)
@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda *_: {}["size"], "KeyError: 'size'"),
        (lambda *_: 1 / 0, "ZeroDivisionError: division by zero"),
        (lambda *_: [][1], "IndexError: list index out of range"),
        (lambda *_: None.size, "AttributeError: 'NoneType' object has no attribute 'size'"),
        (lambda *_: nn.Linear("4", 4), "TypeError: "),
        (lambda *_: torch.zeros(2) @ torch.zeros(3), "RuntimeError: "),
        (lambda *_: (_ for _ in ()).throw(NotImplementedError), "NotImplementedError; "),
    ],
)
def test_an_error_of_a_package_is_told_with_path_class_and_package(family, function, reason):
    start = f"{PLACES[family]}: My{family.__name__} of the package 'my-package' cannot be built ({reason}"
    told = message(family, function)
    assert told.startswith(start)
    assert "; test_build_errors.py, line " in told


def test_a_failed_assertion_is_one_of_them():
    def check(d_model):
        assert d_model == 3, "three only"

    assert "norm: MyNormSpec of the package 'my-package' cannot be built (AssertionError: three" in message(
        NormSpec, check
    )


def test_a_wrong_value_needs_no_line():
    def refuse(d_model):
        raise ValueError("d_model=4 must be odd; change it by one")

    reason = "d_model=4 must be odd; change it by one"
    assert message(NormSpec, refuse) == (
        f"norm: MyNormSpec of the package 'my-package' cannot be built ({reason})"
    )


def test_a_build_with_other_arguments_is_named():
    told = message(SubModuleSpec, lambda: None)
    assert told.startswith(
        f"{ROUTED}.modules.0: MySubModuleSpec of the package 'my-package' cannot be built (TypeErr"
    )


@pytest.mark.parametrize(
    ("family", "remedy"),
    [(SubModuleSpec, ", or wrap it in sma.Pointwise"), (NormSpec, "")],
)
def test_what_is_not_a_part_of_the_family_is_refused(family, remedy):
    told = message(family, lambda d_model: nn.Linear(4, 4))
    assert told == (
        f"{PLACES[family]}: My{family.__name__} of the package 'my-package' cannot be built "
        f"(My{family.__name__} builds Linear, which is not a "
        f"{family.__name__.removesuffix('Spec')}; derive it from that{remedy})"
    )


@pytest.mark.parametrize("family", [SubModuleSpec, NormSpec])
def test_a_build_that_returns_nothing_is_refused(family):
    told = message(family, lambda d_model: None)
    assert told == (
        f"{PLACES[family]}: My{family.__name__} of the package 'my-package' cannot be built "
        f"(My{family.__name__}.build returns nothing; end it with `return` and the "
        f"{family.__name__.removesuffix('Spec')})"
    )


@pytest.mark.parametrize(
    "reads_data",
    [
        lambda x: x.sum().item(),
        lambda x: x.numpy(),
        lambda x: x.nonzero(),
        lambda x: x.tolist(),
        lambda x: bool((x > 0).all()),
        lambda x: x + torch.ones(4, device="cpu"),
        lambda x: torch.rand(4, generator=torch.Generator("cpu")),
    ],
)
def test_what_needs_data_is_left_to_the_real_build(reads_data):
    def build(d_model):
        reads_data(torch.ones(d_model))
        return Pointwise(nn.Linear(d_model, d_model))

    result["of"] = build
    built = parse_spec(model(SubModuleSpec)).build()
    assert isinstance(built.blocks[0].branches[0].sub_modules[0], Pointwise)


def test_other_parts_are_tried_though_one_needs_data():
    result["of"] = lambda d_model: Pointwise(nn.Linear(int(torch.ones(d_model).sum()), d_model))
    values = model(SubModuleSpec)
    parse_spec(values)
    wrong = [{"kind": "residual", "branches": [{"kind": "dense_attention", "n_heads": 3}]}]
    with pytest.raises(ValidationError, match=r"blocks\.1\.branches\.0\.position: d_qk=1 must be even"):
        parse_spec({**values, "blocks": values["blocks"] + wrong})
    with pytest.raises(ValidationError, match="head: head language_model predicts tokens"):
        parse_spec({**values, "embedding": {"kind": "features", "d_input": 3}})


def test_a_default_that_many_parts_share_is_told_where_it_failed():
    branches = [{"kind": "dense_attention", "n_heads": n_heads} for n_heads in (1, 2)]  # widths 6 and 3
    values = {**model(NormSpec), "norm": None, "d_model": 6}
    with pytest.raises(ValidationError, match=r"blocks\.0\.branches\.1\.position: .*even"):
        parse_spec({**values, "blocks": [{"kind": "residual", "branches": branches}]})
