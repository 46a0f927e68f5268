"""A plug-in of every family, each in about twenty lines, does everywhere what a built-in kind does.

Installed packages join by their entry points, see tests/test_plugin.py; these join by the decorator.
"""

import copy
import json
import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import pytest
import torch
import yaml
from torch import nn
from typer.testing import CliRunner

import sma.spec.registry
from sma import (
    Compaction,
    Elements,
    OneOf,
    PackedCompaction,
    PerElement,
    Pointwise,
    Router,
    Routing,
    SequenceModule,
    State,
    mask_padding,
    register,
)
from sma.architectures import load_model, save_model
from sma.architectures.models.base import Model, ModelSpec
from sma.architectures.models.embeddings import Embedding
from sma.architectures.specs.families import (
    BlockSpec,
    CompactionSpec,
    EmbeddingSpec,
    HeadSpec,
    LayerSpec,
    NormSpec,
    PositionSpec,
    RouterSpec,
    SubModuleSpec,
)
from sma.architectures.specs.fields import Size
from sma.modules.attention.positions import OffsetBias, RelativePosition
from sma.modules.norms import Norm
from sma.sequence import zero_padding
from sma.testing import SpecContract
from sma.training import Batch, OptimizerSpec, Run, ScheduleSpec, Task, TaskSpec, Trainer, TrainSpec
from sma.training.cli.app import app
from sma.training.loggers.logger import Logger, LoggerSpec
from sma.training.parallel.contract import OneProcess
from sma.training.parallel.family import ParallelSpec

D, V = 8, 5


class TanhRouter(Router):
    def __init__(self, d_model, n_modules, threshold):
        super().__init__(n_modules)
        self.scores = nn.Linear(d_model, n_modules)
        self.threshold = threshold

    def forward(self, x, mask=None):
        confidence = self.scores(zero_padding(x, mask)).tanh().relu()
        return Routing(mask_padding(confidence > self.threshold, mask), confidence)


@register
class TanhRouterSpec(RouterSpec):
    kind: Literal["my_router"] = "my_router"
    threshold: float = 0.1

    def build(self, d_model, n_modules):
        return TanhRouter(d_model, n_modules, self.threshold)


@register
class BottleneckSpec(SubModuleSpec):
    kind: Literal["my_sub_module"] = "my_sub_module"
    d_hidden: Size = 2

    def build(self, d_model):
        return Pointwise(nn.Sequential(nn.Linear(d_model, self.d_hidden), nn.Linear(self.d_hidden, d_model)))


class EvenCompaction(Compaction):
    """Packed, with a padding slot at the end where the number of elements is odd."""

    def compress(self, x, active):
        packed = PackedCompaction().compress(x, active)
        n = len(packed.row) % 2

        def pad(tensor, value):
            return torch.cat((tensor, tensor.new_full((n, *tensor.shape[1:]), value)))

        ptr = torch.cat((packed.ptr[:-1], packed.ptr[-1:] + n))
        slots = pad(packed.row, -1), pad(packed.position, 0), pad(packed.index, 0)
        return Elements(pad(packed.x, 0.0), *slots, ptr)


@register
class EvenSpec(CompactionSpec):
    kind: Literal["my_compaction"] = "my_compaction"

    def build(self):
        return EvenCompaction()


@dataclass(frozen=True)
class Total(State):
    total: torch.Tensor


class RunningSum(SequenceModule):
    def __init__(self, d_model):
        super().__init__()
        self.scale = nn.Parameter(torch.full((d_model,), 0.1))

    def forward(self, x, mask=None):
        return self.scale * zero_padding(x, mask).cumsum(1)

    def init_state(self, batch_size, *, device=None, dtype=None):
        return Total(torch.zeros(batch_size, len(self.scale), device=device, dtype=dtype))

    def step(self, x, state, mask=None):
        sums = state.total[:, None] + zero_padding(x, mask).cumsum(1)
        state.total.copy_(sums[:, -1])
        return self.scale * sums


@register
class RunningSumSpec(LayerSpec):
    kind: Literal["my_layer"] = "my_layer"

    def build(self, d_model):
        return RunningSum(d_model)


class MaxNorm(Norm):
    def forward(self, x, mask=None):
        x = zero_padding(x, mask)
        return x / (1 + x.abs().amax(-1, keepdim=True))


@register
class MaxNormSpec(NormSpec):
    kind: Literal["my_norm"] = "my_norm"

    def build(self, d_model):
        return MaxNorm()


class Near(RelativePosition):
    def __init__(self):
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(0.1))

    def bias(self):
        return OffsetBias(-self.slope * torch.arange(17).sub(8).abs(), first=-8, by_rank=False)


@register
class NearSpec(PositionSpec):
    kind: Literal["my_position"] = "my_position"

    def build(self, d_qk, *, window, bidirectional):
        return Near()


class OneHot(Embedding):
    def __init__(self, d_model):
        super().__init__(d_model, sinusoid=False, norm=None, dropout=0.0)
        self.linear = nn.Linear(V, d_model)

    def embed(self, inputs):
        return self.linear(nn.functional.one_hot(inputs, V).to(self.linear.weight))


@register
class OneHotSpec(EmbeddingSpec):
    kind: Literal["my_embedding"] = "my_embedding"

    def build(self, d_model):
        return OneHot(d_model)


class NextToken(nn.Module):
    def __init__(self, d_model, n_classes):
        super().__init__()
        self.linear = nn.Linear(d_model, n_classes)

    def forward(self, x, mask=None):
        return self.linear(x)


@register
class NextTokenSpec(HeadSpec):
    kind: Literal["my_head"] = "my_head"
    n_classes: Size = V

    @property
    def needs_causal(self):
        return True

    def build(self, d_model, embedding):
        return NextToken(d_model, self.n_classes)


class SideBySide(SequenceModule):
    """x plus what two layers make of it."""

    def __init__(self, first, second):
        super().__init__()
        self.first, self.second = first, second

    @property
    def causal(self):
        return self.first.causal and self.second.causal

    def forward(self, x, mask=None):
        return x + self.first(x, mask) + self.second(x, mask)


@register
class SideBySideSpec(BlockSpec):
    kind: Literal["my_block"] = "my_block"
    first: OneOf[LayerSpec]
    second: OneOf[LayerSpec]

    def build(self, d_model):
        return SideBySide(self.first.build(d_model), self.second.build(d_model))


class Bigram(Model):
    def __init__(self, spec, d_model):
        super().__init__()
        self.spec = spec
        self.embedding = nn.Embedding(V, d_model)
        self.layer = PerElement(nn.Linear(d_model, V))

    def forward(self, inputs, mask=None):
        return self.layer(self.embedding(inputs), mask)


@register
class BigramSpec(ModelSpec):
    kind: Literal["my_model"] = "my_model"
    d_model: Size = D

    def build(self):
        return Bigram(self, self.d_model)


class Counting(Task):
    """Tokens that count upwards."""

    title, facts, n_classes, unit, headline = "counting", {}, V, "token", "bits"

    def training_batch(self, batch_size, generator):
        start = torch.randint(V, (batch_size, 1), generator=generator)
        tokens = (start + torch.arange(9)) % V
        return Batch(tokens[:, :-1], tokens[:, 1:])

    def evaluation_batches(self, split, batch_size):
        yield self.training_batch(batch_size, torch.Generator().manual_seed(1))

    def baselines(self):
        return {"uniform": math.log2(V)}

    def sections(self, model, test):
        return []


@register
class CountingSpec(TaskSpec):
    kind: Literal["my_task"] = "my_task"

    def build(self):
        return Counting()


@register
class MomentumSpec(OptimizerSpec):
    kind: Literal["my_optimizer"] = "my_optimizer"
    momentum: float = 0.5

    def build(self, parameters, learning_rate):
        return torch.optim.SGD(parameters, learning_rate, momentum=self.momentum)


@register
class HalvingSpec(ScheduleSpec):
    kind: Literal["my_schedule"] = "my_schedule"

    def factor(self, step, progress):
        return 0.5**step


class Memory(Logger):
    rows: ClassVar[list[tuple[int, float]]] = []

    def start(self, folder, values, step):
        self.rows.clear()

    def log(self, step, values):
        self.rows += [(step, values[name]) for name in ("training/loss", "validation/loss") if name in values]

    def close(self):
        pass


@register
class MemorySpec(LoggerSpec):
    kind: Literal["my_logger"] = "my_logger"

    def build(self):
        return Memory()


@register
class AloneSpec(ParallelSpec):
    kind: Literal["my_parallel"] = "my_parallel"

    def build(self, place):
        return OneProcess()


@pytest.fixture(scope="module", autouse=True)
def _registered_here_only():
    yield
    for key, spec in list(sma.spec.registry._registered.items()):
        if spec.__module__ == __name__:
            del sma.spec.registry._registered[key]


BUILT_IN = {
    "task": "my_task",  # no other is without data
    "model": {
        "kind": "sequence_model",
        "d_model": D,
        "embedding": {"kind": "tokens", "vocab_size": V},
        "blocks": [
            {
                "kind": "residual",
                "mixer": {"kind": "ema", "d_state": 2},
                "branches": [
                    "linear",
                    {
                        "kind": "sma",
                        "router": {"kind": "sigmoid"},
                        "modules": [
                            {"kind": "gau", "d_qk": 4, "d_hidden": 8, "window": 3},
                            {"kind": "feed_forward", "d_hidden": 4},
                        ],
                    },
                ],
            },
            {"kind": "residual", "branches": ["linear"]},
        ],
        "norm": "layer_norm",
        "head": {"kind": "node_classifier", "n_classes": V},
    },
    "steps": 2,
    "batch_size": 2,
    "learning_rate": 0.1,
    "loggers": [None],
}
PLACES = {
    "my_router": "model.blocks.0.branches.1.router",
    "my_sub_module": "model.blocks.0.branches.1.modules.1",
    "my_compaction": "model.blocks.0.branches.1.compaction",
    "my_layer": "model.blocks.0.mixer",
    "my_norm": "model.norm",
    "my_position": "model.blocks.0.branches.1.modules.0.position",
    "my_embedding": "model.embedding",
    "my_head": "model.head",
    "my_block": "model.blocks.1",
    "my_model": "model",
    "my_task": "task",
    "my_optimizer": "optimizer",
    "my_schedule": "schedule",
    "my_logger": "loggers.0",
    "my_parallel": "parallel",
}
FIELDS = {"my_block": {"first": "linear", "second": {"kind": "ema", "d_state": 2}}}
TOGETHER = [kind for kind in PLACES if kind != "my_model"]


def run_with(*kinds):
    """The fields of a run, some parts of which are plug-ins."""
    values = copy.deepcopy(BUILT_IN)
    for kind in kinds:
        *parents, last = (int(key) if key.isdigit() else key for key in PLACES[kind].split("."))
        node = values
        for key in parents:
            node = node[key]
        node[last] = {"kind": kind, **FIELDS.get(kind, {})}
    values["loggers"] = [logger for logger in values["loggers"] if logger is not None]
    return values


def command(*arguments):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.output


def own_families():
    return {spec.family() for spec in sma.spec.registry._registered.values() if spec.__module__ == __name__}


def test_every_family_has_a_plug_in():
    subclasses = {
        spec.family()
        for spec in sma.spec.registry._registered.values()
        if spec.__module__.startswith(("sma.architectures.", "sma.training."))
    }
    assert own_families() == subclasses - {TrainSpec.family()}
    assert len(own_families()) == len(PLACES)


@pytest.mark.parametrize("kind", PLACES)
def test_alone_among_built_in_kinds(kind, tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(run_with(kind)))
    spec = TrainSpec.model_validate(yaml.safe_load(path.read_text()))
    assert TrainSpec.model_validate_json(spec.model_dump_json()) == spec
    trainer = Trainer(spec, spec.task.build())
    trainer.fit(Run.create(spec, tmp_path))
    save_model(trainer.model, tmp_path / "model")
    tokens = torch.arange(12).view(2, 6) % V
    torch.testing.assert_close(
        load_model(tmp_path / "model")(tokens), trainer.model.eval()(tokens), rtol=0, atol=0
    )
    if PLACES[kind].startswith("model"):
        assert kind in command("describe", path)


def test_all_together_by_the_command(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(run_with(*TOGETHER)))
    command("train", "--spec", path, "--out", tmp_path, "--name", "run")
    run = tmp_path / "run"
    written = (run / "spec.yaml").read_text()
    described = command("describe", run)
    for kind in TOGETHER:
        assert f"kind: {kind}" in written
        assert kind in described or not PLACES[kind].startswith("model")
    assert json.loads((run / "results.json").read_text())["test"]["n_targets"] == 16
    command("evaluate", run)
    model = load_model(run / "best")
    assert model.head.linear.weight.shape == (V, D)


def test_the_schemas_know_them():
    schema = json.loads(command("schema", "training"))["$defs"]
    for spec in sma.spec.registry._registered.values():
        if spec.__module__ == __name__:
            assert schema[spec.__name__]["properties"]["kind"]["const"] in PLACES
            assert {"$ref": f"#/$defs/{spec.__name__}"} in schema[spec.family().__name__]["anyOf"]


class TestEmbedding(SpecContract):
    def make(self):
        return OneHotSpec()

    def inputs(self, x):
        return x[..., 0].mul(5).long() % V


class TestHead(SpecContract):
    def make(self):
        return NextTokenSpec(n_classes=3)


class TestRouter(SpecContract):
    def make(self):
        return TanhRouterSpec(threshold=0.2)


class TestNorm(SpecContract):
    def make(self):
        return MaxNormSpec()


@torch.no_grad()
def test_decoding_goes_through_them():
    values = run_with("my_router", "my_sub_module", "my_compaction", "my_layer", "my_norm", "my_position")
    model = TrainSpec.model_validate(values).model.build().eval()
    tokens = torch.randint(V, (2, 7))
    state = model.init_state(2)
    steps = [model.step(tokens[:, t], state) for t in range(7)]
    torch.testing.assert_close(torch.stack(steps, 1), model(tokens))
