"""The contract suite of specs."""

import json
from collections.abc import Hashable
from inspect import signature
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor, nn

from sma.compaction import PackedCompaction
from sma.routing import Router
from sma.sequence import SequenceModule
from sma.spec.base import Spec
from sma.spec.registry import OneOf, find
from sma.sub_module import SubModule
from sma.testing.contract import Contract, assert_close, assert_same
from sma.testing.strategies import Layout


class SpecContract(Contract[Spec]):
    """The properties of every kind of spec; numbers refer to the list in docs/design.md.

    Derive a class in a test file, and say how to make the spec, with fields away from their defaults.
    Where `build` or the module is called otherwise than here, override `build`, `inputs` or `outputs`; an
    embedding of tokens needs only `inputs`.

    Example:
        >>> from typing import Literal
        >>> from sma import PerElement, Spec, register
        >>> class LayerSpec(Spec):
        ...     '''A family.'''
        >>> @register
        ... class Affine(LayerSpec):
        ...     kind: Literal["affine"] = "affine"
        ...     bias: bool = True
        ...     def build(self, d_model):
        ...         return PerElement(nn.Linear(d_model, d_model, bias=self.bias))
        >>> class TestAffine(SpecContract):
        ...     def make(self):
        ...         return Affine(bias=False)
        >>> TestAffine().test_json_round_trip()
    """

    def build(self, spec: Any) -> Any:
        """The built module: of width `self.d_model`, for 3 modules, with an embedding of 11 tokens."""
        known = {"d_model": self.d_model, "n_modules": 3, "embedding": nn.Embedding(11, self.d_model)}
        declared = getattr(spec.family(), "build", type(spec).build)
        return spec.build(*(known[name] for name in signature(declared).parameters if name in known))

    def inputs(self, x: Tensor) -> Tensor:
        """The input of an embedding, a norm or a head: `x (B, L, D)`, or made of it, such as tokens."""
        return x

    def outputs(self, module: Any) -> list[Tensor]:
        """The outputs of a module for a fixed input."""
        layout = Layout((5, 3, 0), padding=1)
        x, mask = layout.x(self.d_model, fill=0.0, dtype=torch.float32), layout.real
        with torch.no_grad():
            if isinstance(module, Router):
                routing = module(x, mask)
                return [routing.active.to(x), torch.where(routing.active, routing.confidence, 0)]
            if isinstance(module, SubModule):
                return [module(PackedCompaction().compress(x, mask))]
            if isinstance(module, SequenceModule):
                return [module(x, mask)[mask]]
            return [module(self.inputs(x), mask)]

    def test_json_round_trip(self) -> None:
        """Property 10: spec -> JSON -> spec is the identity, read by its class, its kind or its family."""
        spec = self.make()
        text = spec.model_dump_json()
        field = TypeAdapter(OneOf[spec.family()])  # type: ignore[misc]
        assert_same(json.loads(text)["kind"], spec.kind, "kind in JSON")
        assert_same(type(spec).model_validate_json(text), spec, "read by its class")
        assert_same(find(spec.family(), spec.kind).model_validate_json(text), spec, "read by its kind")
        for read in (field.validate_json(text), field.validate_python(json.loads(text))):
            assert_same((type(read), read), (type(spec), spec), "read by its family")
        assert_same(field.dump_json(spec), text.encode(), "written by its family")

    def test_refuses_unknown_fields(self) -> None:
        """A misspelt field is an error, not ignored."""
        values = self.make().model_dump()
        with pytest.raises(ValidationError, match="no_such_field"):
            type(self.make()).model_validate({**values, "no_such_field": 1})

    def test_is_frozen(self) -> None:
        """A spec is a value: it cannot change, and equal specs hash alike."""
        spec = self.make()
        with pytest.raises(ValidationError):
            spec.kind = "other"  # type: ignore[misc]
        fields = {name: type(value).__name__ for name, value in spec if not isinstance(value, Hashable)}
        assert not fields, f"these fields can change in place: {fields}; take tuples instead of lists"
        assert_same(hash(spec), hash(self.make()), "hash")

    def test_build_is_repeatable(self) -> None:
        """Property 10: what a spec read from JSON builds computes the same, given the same weights."""
        spec = self.make()
        torch.manual_seed(0)
        module = self.build(spec)
        if not isinstance(module, nn.Module):
            assert_same(type(self.build(self._read(spec))), type(module), "type")
            return
        torch.manual_seed(1)
        copy = self.build(self._read(spec))
        copy.load_state_dict(module.state_dict(), strict=True)
        for ours, theirs in zip(self.outputs(copy.eval()), self.outputs(module.eval()), strict=True):
            assert_close(ours, theirs, "a rebuilt module differs", tolerance=0)

    @staticmethod
    def _read(spec: Spec) -> Spec:
        return type(spec).model_validate_json(spec.model_dump_json())
