"""Small models for the tests of `sma.transformers`."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from sma.architectures import SequenceModel, seqboat
from sma.architectures.models.sequence import SequenceModelSpec
from sma.spec import registry
from sma.transformers import SMAConfig, SMAForCausalLM
from sma.transformers.config import _read

SIZES: dict[str, Any] = {"d_model": 16, "n_layers": 2, "window": 4, "d_qk": 4, "d_state": 2, "d_hidden": 8}
TOKENS: dict[str, int] = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}


def tiny(**options: Any) -> SequenceModelSpec:
    """The spec of a tiny SeqBoat over bytes whose router has an auxiliary loss."""
    values = seqboat(**{"vocab_size": 256, **SIZES, **options}).model_dump(mode="json")
    for block in values["blocks"]:
        layer = block["branches"][1]
        layer["router"] = {
            "kind": "activation_budget",
            "router": layer["router"],
            "rate": 0.3,
            "coefficient": 0.5,
        }
    return SequenceModelSpec.model_validate(values)


@pytest.fixture
def spec() -> SequenceModelSpec:
    """A causal language model over bytes."""
    return tiny()


@pytest.fixture
def plain(spec: SequenceModelSpec) -> SequenceModel:
    """The model of that spec, with some elements active, in evaluation mode."""
    torch.manual_seed(0)
    return spec.build().eval()


@pytest.fixture
def causal(plain: SequenceModel) -> SMAForCausalLM:
    """The same model for transformers."""
    return SMAForCausalLM.from_model(plain, **TOKENS)


@pytest.fixture
def config(spec: SequenceModelSpec) -> SMAConfig:
    """The configuration of the language model."""
    return SMAConfig(spec=spec, **TOKENS)


@pytest.fixture
def tokens() -> Tensor:
    """Three rows of bytes, none of them 0."""
    return torch.randint(1, 256, (3, 9), generator=torch.Generator().manual_seed(0))


PLUG_IN = """
from typing import Literal

import sma
import torch
from sma.architectures import LayerSpec
from sma.sequence import PerElement
from torch import nn


class Doubled(nn.Linear):
    def __init__(self, d_model):
        super().__init__(d_model, d_model)
        self.register_buffer("factor", torch.tensor(2.0), persistent=False)

    def forward(self, x):
        return super().forward(x) * self.factor


@sma.register
class DoubledSpec(LayerSpec):
    kind: Literal["doubled"] = "doubled"

    def build(self, d_model):
        return PerElement(Doubled(d_model))
"""


@pytest.fixture
def plug_in_spec(
    spec: SequenceModelSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dict[str, Any]]:
    """A spec with a kind of a module of one's own, which is forgotten afterwards."""
    (tmp_path / "kinds_of_a_test.py").write_text(PLUG_IN)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.import_module("kinds_of_a_test")
    values = spec.model_dump(mode="json")
    values["blocks"][0]["branches"][0] = {"kind": "doubled"}
    yield values
    forget_plug_in()


def forget_plug_in() -> None:
    sys.modules.pop("kinds_of_a_test", None)
    for key, found in list(registry._registered.items()):
        if found.__module__ == "kinds_of_a_test":
            del registry._registered[key]
    _read.cache_clear()
