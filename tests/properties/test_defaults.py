"""A default that stands in a constructor and in a spec is the same in both.

Pairs are not listed: every spec is built with its required fields alone, and each argument that its `build`
then passes to a constructor of this project is compared with the constructor's own default.
"""

import inspect
import sys
from functools import wraps

import pytest
import torch
from properties.test_specs import EXAMPLES, KindContract
from pydantic import TypeAdapter
from torch import Tensor, nn

from sma import Compaction, OneOf
from sma.spec.registry import kinds

CASES = [
    pytest.param(family, values, id=f"{family.__name__}-{values['kind']}-{number}")
    for family, examples in EXAMPLES.items()
    for number, values in enumerate(examples)
]
INTERNAL = vars(nn.Module()).keys()


def default_spec(family, values):
    """The spec with its required fields alone, or the example where they do not suffice."""
    example = TypeAdapter(OneOf[family]).validate_python(values)
    required = {key for key, field in type(example).model_fields.items() if field.is_required()}
    try:
        spec = type(example).model_validate({key: value for key, value in values.items() if key in required})
        build(spec)
    except ValueError:
        return example
    return spec


def build(spec):
    suite = KindContract()
    suite.d_model = 64  # heads have so many features by default
    suite.build(spec)


def constructors():
    """Every class of modules and compactions of this project that has a constructor of its own."""
    for name, module in list(sys.modules.items()):
        if name.startswith("sma."):
            kinds = [thing for thing in vars(module).values() if isinstance(thing, type)]
            ours = [kind for kind in kinds if kind.__module__ == name and "__init__" in vars(kind)]
            yield from (kind for kind in ours if issubclass(kind, nn.Module | Compaction))


def calls_of(spec, monkeypatch):
    """The classes that a spec constructs, but not those inside it, with their arguments by name."""
    calls, depth = [], 0

    def nested(build):
        @wraps(build)
        def counted(self, *args, **kwargs):
            nonlocal depth
            depth += 1
            try:
                return build(self, *args, **kwargs)
            finally:
                depth -= 1

        return counted

    def noting(init):
        @wraps(init)
        def noted(self, *args, **kwargs):
            if depth == 1 and type(self).__init__ is noted:  # not from a subclass
                arguments = inspect.signature(init).bind(self, *args, **kwargs).arguments
                calls.append((type(self), {key: arguments[key] for key in list(arguments)[1:]}))
            init(self, *args, **kwargs)

        return noted

    with monkeypatch.context() as patch:
        for kind in constructors():
            patch.setattr(kind, "__init__", noting(vars(kind)["__init__"]))
        for kind in (kind for family in EXAMPLES for kind in kinds(family).values()):
            patch.setattr(kind, "build", nested(kind.build))
        build(spec)
    return calls


def called(kind, arguments):
    """A new instance, with the same random numbers each time."""
    torch.manual_seed(0)
    arguments = dict(arguments)
    names = [*inspect.signature(kind).parameters.values()]
    by_place = [arguments.pop(p.name) for p in names if p.kind is not p.KEYWORD_ONLY and p.name in arguments]
    return kind(*by_place, **arguments)


def described(value):
    """A value as something to compare: modules by their types, settings and tensors."""
    if isinstance(value, nn.Module):
        settings = {key: described(held) for key, held in vars(value).items() if key not in INTERNAL}
        tensors = {key: described(tensor) for key, tensor in value.state_dict().items()}
        return type(value), settings, tensors, [described(part) for part in value.children()]
    if isinstance(value, Compaction):
        return type(value), {key: held for key, held in vars(value).items() if not key.startswith("_")}
    if isinstance(value, Tensor):
        return value.tolist()
    return [described(item) for item in value] if isinstance(value, list | tuple) else value


@pytest.mark.parametrize(("family", "values"), CASES)
def test_defaults_of_constructors_are_those_of_specs(family, values, monkeypatch):
    spec = default_spec(family, values)
    given = {*inspect.signature(spec.build).parameters, *spec.model_fields_set}
    for kind, arguments in calls_of(spec, monkeypatch):
        expected = described(called(kind, arguments))
        for name, parameter in inspect.signature(kind).parameters.items():
            if name in arguments.keys() - given and parameter.default is not parameter.empty:
                others = {key: value for key, value in arguments.items() if key != name}
                assert described(called(kind, others)) == expected, (
                    f"{kind.__name__}({name}={parameter.default}), but {type(spec).__name__} builds it with "
                    f"{arguments[name]}"
                )
