"""The contract over every kind of spec that architectures are made of (property 10)."""

import importlib
import pkgutil

import pytest
import torch
from pydantic import TypeAdapter

import sma.architectures
from sma import Compaction, Edges, OneOf, PackedCompaction, Spec
from sma.architectures.models.base import ModelSpec
from sma.architectures.models.embeddings import TokenEmbedding
from sma.architectures.specs import families
from sma.spec.registry import kinds
from sma.testing import Layout, SpecContract

for _module in pkgutil.walk_packages(sma.architectures.__path__, "sma.architectures."):
    importlib.import_module(_module.name)  # registers its specs

GAU = {"kind": "gau", "d_qk": 4, "d_hidden": 6, "window": 3, "position": "rotary"}
RESIDUAL = {"kind": "residual", "mixer": {"kind": "ema", "d_state": 2}, "branches": ["linear"]}
SMA = {"kind": "sma", "router": "sigmoid", "modules": [GAU, {"kind": "feed_forward", "d_hidden": 6}]}
TOKENS = {"kind": "tokens", "vocab_size": 11}

EXAMPLES = {
    families.RouterSpec: [
        {"kind": "latent_configurator", "init_temperature_scale": 0.3},
        {"kind": "sigmoid", "threshold": 0.25},
        {"kind": "gumbel", "temperature": 0.5},
        {"kind": "gumbel", "temperature": {"start": 2.0, "end": 0.5, "over": 0.7}},
        {"kind": "top_k", "top_k": 1, "normalize": False, "z_coefficient": 0.0, "jitter": 0.1},
        {"kind": "expert_choice", "capacity": 0.25, "softmax": True, "d_predictor": 3},
        {
            "kind": "activation_budget",
            "router": {"kind": "random", "rate": 0.3},
            "rate": 0.2,
            "coefficient": 2.0,
        },
        {
            "kind": "activation_budget",
            "router": "gumbel",
            "rate": [0.2, {"start": 1.0, "end": 0.1}, 0.3],
            "coefficient": 1.0,
        },
        {"kind": "always"},
        {"kind": "never"},
        {"kind": "random", "rate": 0.25, "seed": 7},
    ],
    families.SubModuleSpec: [
        GAU,
        {"kind": "gau", "bidirectional": True, "window": None, "attention": "laplace", "position": "none"},
        {"kind": "feed_forward", "d_hidden": 6, "activation": "silu", "bias": False},
        {"kind": "feed_forward", "d_hidden": 6, "gated": True, "dropout": 0.1},
        {"kind": "convolution", "kernel_size": 3, "activation": "silu"},
        {"kind": "multi_head_attention", "n_heads": 2, "window": 3, "position": "rank"},
        {"kind": "layer", "layer": {**RESIDUAL, "repeat": 2}, "change_only": True},
        {"kind": "layer", "layer": SMA},
        {"kind": "ssm", "ssm": {"kind": "s4d", "d_state": 4}},
        {"kind": "graph_convolution", "name": "GATv2Conv", "arguments": {"heads": 2}},
    ],
    families.CompactionSpec: [
        {"kind": "packed"},
        {"kind": "padded"},
        {"kind": "capacity", "capacity": 5, "strict": True},
        {"kind": "capacity", "capacity": 1.0},
    ],
    families.PositionSpec: [
        {"kind": "rotary", "base": 100.0},
        {"kind": "learned", "max_positions": 5},
        {"kind": "rank"},
        {"kind": "t5", "n_buckets": 4, "max_distance": 9},
        {"kind": "rotary_bias", "max_positions": 5},
        {"kind": "none"},
    ],
    families.NormSpec: [
        {"kind": "layer_norm", "affine": False},
        {"kind": "rms_norm"},
        {"kind": "scale_norm"},
        {"kind": "batch_norm", "affine": False},
        {"kind": "none"},
    ],
    families.LayerSpec: [
        {"kind": "ema", "d_state": 3, "bidirectional": True, "truncation": 5},
        {"kind": "s4d", "d_state": 4, "bidirectional": True, "step_max": 0.2},
        {"kind": "selective_ssm", "d_state": 3, "d_head": 4, "kernel_size": 2},
        {"kind": "linear", "bias": False},
        {**SMA, "compaction": {"kind": "capacity", "capacity": 0.5}},
        {"kind": "dense", "module": GAU},
        {"kind": "dense_attention", "n_heads": 2, "max_positions": 20},
        {
            "kind": "mixture_of_experts",
            "router": {"kind": "top_k", "top_k": 2},
            "n_experts": 3,
            "d_hidden": 5,
            "capacity_factor": 1.5,
        },
    ],
    families.BlockSpec: [
        {**RESIDUAL, "repeat": 2, "norm_position": "post", "norm": "scale_norm", "dropout": 0.1},
        {"kind": "mega", "mixer": {"kind": "ema", "d_state": 2}, "d_qk": 4, "chunk": 3},
        {"kind": "stack", "blocks": [RESIDUAL, RESIDUAL]},
    ],
    families.EmbeddingSpec: [
        {**TOKENS, "sinusoid": True},
        {"kind": "features", "d_input": 8},
        {"kind": "scalars", "norm": "layer_norm"},
        {"kind": "bag", "vocab_size": 11},
    ],
    families.HeadSpec: [
        {"kind": "classifier", "n_classes": 3, "pooling": "first", "d_hidden": 5, "bias": False},
        {"kind": "language_model", "tie_embedding": True},
        {"kind": "node_classifier", "n_classes": 3},
    ],
    ModelSpec: [
        {
            "kind": "sequence_model",
            "d_model": 8,
            "embedding": TOKENS,
            "blocks": [{**RESIDUAL, "branches": ["linear", SMA]}],
            "norm": "layer_norm",
            "head": "language_model",
        },
        {
            "kind": "graph_model",
            "d_model": 8,
            "embedding": {"kind": "features", "d_input": 8},
            "blocks": [{"kind": "residual", "branches": ["linear"]}],
            "head": {"kind": "classifier", "n_classes": 3},
        },
    ],
}


def tokens(x):
    """Numbers made tokens below 11."""
    return x.mul(5).long() % 11


INPUTS = {
    "tokens": lambda x: tokens(x[..., 0]),
    "scalars": lambda x: x[..., 0],
    "bag": tokens,
    "sequence_model": lambda x: tokens(x[..., 0]),
}


class KindContract(SpecContract):
    """The contract, with what some kinds need beyond it."""

    def build(self, spec):
        if isinstance(spec, families.PositionSpec):
            return spec.build(4, window=3, bidirectional=False)
        if spec.kind == "language_model":
            with torch.random.fork_rng():
                torch.manual_seed(0)
                return spec.build(self.d_model, TokenEmbedding(self.d_model, vocab_size=11))
        return super().build(spec)

    def inputs(self, x):
        return INPUTS.get(self.make().kind, super().inputs)(x)

    @torch.no_grad()
    def outputs(self, module):
        spec, layout = self.make(), Layout((5, 3, 0), padding=1)
        x, mask = layout.x(8, fill=0.0, dtype=torch.float32), layout.real
        if isinstance(module, Compaction):
            return [module.compress(x, mask).x]
        if isinstance(spec, families.PositionSpec):
            bias = module.bias()
            table = [] if bias is None else [bias(torch.arange(-6, 7))]
            return [module.rotate(x[0, :, :4], torch.arange(6)), *table]
        if spec.kind == "graph_model":
            from torch_geometric.data import Data

            return [module(Data(x=x[0], edge_index=torch.tensor([[0, 1], [1, 2]])))]
        if spec.kind == "graph_convolution":
            edges = Edges(torch.tensor([[0, 1, 7], [1, 2, 6]]))
            elements = PackedCompaction().compress(x, mask)
            return [module(elements.with_edges(edges, mask.numel()))]
        return super().outputs(module)


def _suite(family, values, number):
    """A test class for one example; a class that sma.spec.registry finds reads it."""
    adapter = TypeAdapter(OneOf[family])
    return type(
        f"Test{family.__name__.removesuffix('Spec')}_{values['kind']}_{number}",
        (KindContract,),
        {"make": lambda self: adapter.validate_python(values), "__module__": __name__},
    )


for _family, _examples in EXAMPLES.items():
    for _number, _values in enumerate(_examples):
        _class = _suite(_family, _values, _number)
        globals()[_class.__name__] = _class
del _class


@pytest.mark.parametrize("family", EXAMPLES, ids=lambda family: family.__name__)
def test_every_kind_has_an_example(family):
    ours = {kind for kind, spec in kinds(family).items() if spec.__module__.startswith("sma.")}
    assert ours == {values["kind"] for values in EXAMPLES[family]}


def test_every_family_has_examples():
    defined = [ModelSpec, *(thing for thing in vars(families).values() if isinstance(thing, type))]
    assert {thing for thing in defined if Spec in thing.__bases__} == set(EXAMPLES)
