"""Runs imported layers and models on the published vectors, and says how far apart the results are."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

import sma
from sma.architectures.published.load import (
    layer_from_reference,
    model_from_reference,
    weights_from_reference,
)

FOLDER = Path(__file__).parent
LAYERS = ("standalone_layer", "fairseq_unit", "standalone_ema")


@dataclass(frozen=True)
class Case:
    """One file: a configuration and the published tensors."""

    name: str
    config: dict[str, Any]
    training: bool
    tensors: dict[str, Tensor]

    def group(self, name: str) -> dict[str, Tensor]:
        prefix = name + "/"
        return {key.removeprefix(prefix): x for key, x in self.tensors.items() if key.startswith(prefix)}

    @property
    def kind(self) -> str:
        return self.config["kind"]

    @property
    def is_layer(self) -> bool:
        return self.kind in LAYERS

    def batch_first(self, name: str) -> Tensor:
        x = self.tensors[name]
        return x.transpose(0, 1) if self.is_layer else x

    @property
    def mask(self) -> Tensor | None:
        """True = a real element; for pairs of documents (2, B, L). Token 1 is the published padding."""
        if "padding_mask" in self.tensors:
            return ~self.tensors["padding_mask"]
        x = self.tensors["input"]
        return None if x.is_floating_point() or not (x == 1).any() else x != 1

    @property
    def compared(self) -> Tensor | None:
        """Where outputs are compared; None: everywhere. Without a router the published layer attends from
        padding, too: these outputs are not reproduced here (and their weight in the loss is 0)."""
        return self.mask if self.is_layer and self.config["ctor"].get("always_act") else None

    @property
    def decisions(self) -> list[tuple[Tensor, Tensor]]:
        """Per call of a routed layer: which elements are active, and the confidences where they are."""
        keys = ["mask"] if "mask" in self.tensors else [f"mask/{i}" for i in range(len(self.group("mask")))]
        return [(self.tensors[key], self.tensors[key.replace("mask", "confidence")]) for key in keys]

    @property
    def deviation(self) -> str | None:
        """By which decision the published result differs from this project's; None: not at all."""
        ctor = self.config["ctor"]
        windowed = ctor.get("window_size", ctor.get("chunk_size", -1)) > 0
        rates = [active.double().mean(1) for active, _ in self.decisions]
        laplace = windowed and ctor.get("attention_activation") == "laplace" and any(map(any, rates))
        full_row = any((rate == 1).any() and not (rate == 1).all() for rate in rates)
        return " and ".join(["laplace"] * laplace + ["full row"] * full_row) or None

    def build(self, dtype: torch.dtype = torch.float64) -> nn.Module:
        state = {n: x.to(dtype) if x.is_floating_point() else x for n, x in self.group("state").items()}
        load = layer_from_reference if self.is_layer else model_from_reference
        return load(self.config, state).train(self.training)


@cache
def load(name: str) -> Case:
    path = FOLDER / f"{name}.safetensors"
    with safe_open(path, "pt") as file:
        case = json.loads(file.metadata()["case"])
    return Case(name, case["config"], case.get("training", False), load_file(path))


def names() -> list[str]:
    """All files but the stepped one, which has no gradients."""
    found = sorted(path.stem for path in FOLDER.glob("*.safetensors"))
    return [name for name in found if not name.startswith("ema_steps")]


def set_compaction(module: nn.Module, compaction: sma.Compaction) -> None:
    for part in module.modules():
        if isinstance(part, sma.SMA):
            part.compaction = compaction


def run(case: Case, module: nn.Module, x: Tensor) -> Tensor:
    """The module's output; at padding, where this project gives 0, what the published code gives."""
    mask = case.mask
    if case.config.get("pair"):
        return module((x[0], x[1]), None if mask is None else (mask[0], mask[1]))
    y = module(x, mask)
    if mask is None or not case.is_layer:
        return y
    return torch.where(mask.unsqueeze(-1), y, _published_at_padding(module.module, x, mask))


def _published_at_padding(layer: nn.Module, x: Tensor, mask: Tensor) -> Tensor:
    """The published code computes outputs at padding, too: without the router's part, from the skip terms."""

    def mix(mixer: nn.Module, z: Tensor) -> Tensor:
        padding = ~mask.unsqueeze(-1)
        return mixer(z.masked_fill(padding, 0)) + (mixer.omega * z).masked_fill(~padding, 0)

    if not hasattr(layer, "mixer"):
        return mix(layer, x)
    h = layer.activation(mix(layer.mixer, layer.pre_norm(x)))
    return layer.post_norm(layer.activation(layer.branches[0](h) + x))


def errors(case: Case, compaction: sma.Compaction | None = None) -> dict[str, float]:
    """The greatest absolute difference of each result to the published float64 figures."""
    module = case.build()
    if compaction is not None:
        set_compaction(module, compaction)
    x = case.batch_first("input").clone()
    if x.is_floating_point():
        x.requires_grad_()
    with sma.record(module) as recording:
        y = run(case, module, x)
    (y * case.batch_first("loss_weight")).sum().backward()
    found = {"output": distance(y, case.batch_first("output"), case.compared)}
    if case.decisions:
        found |= _routing_errors(case, [layer.routing for layer in recording.layers])
    if x.requires_grad:
        found["input gradient"] = distance(x.grad, case.batch_first("grad_input"))
    own = dict(module.named_parameters())
    published = weights_from_reference(case.config, case.group("grad"))
    assert published.keys() == own.keys()
    found["parameter gradients"] = max(distance(own[name].grad, x) for name, x in published.items())
    for name, x in case.group("state_after").items():
        found["running averages"] = distance(_buffer(module, name), x)
    return found


def _routing_errors(case: Case, routings: list[sma.Routing]) -> dict[str, float]:
    assert len(routings) == len(case.decisions)
    wrong, apart = 0, 0.0
    for routing, (active, confidence) in zip(routings, case.decisions, strict=True):
        wrong += int((routing.active[..., 0] != active).sum())
        apart = max(apart, distance(routing.confidence[..., 0], confidence, active))
    return {"decisions": wrong, "confidence": apart}


def _buffer(module: nn.Module, published: str) -> Tensor:
    leaf = published.rpartition(".")[2]
    (found,) = (x for name, x in module.named_buffers() if name.endswith(leaf))
    return found


def float32_errors(case: Case) -> dict[str, float]:
    """The same for the untouched published code, against this project in float32."""
    published = case.group("unmodified_f32")
    module = case.build(torch.float32)
    x = case.batch_first("input").clone()
    if x.is_floating_point():
        x = x.float().requires_grad_()
    y = run(case, module, x)
    (y * case.batch_first("loss_weight").float()).sum().backward()
    flip = (lambda z: z.transpose(0, 1)) if case.is_layer else (lambda z: z)
    found = {"output": distance(y, flip(published["output"]))}
    if x.requires_grad:
        found["input gradient"] = distance(x.grad, flip(published["grad_input"]))
    return found


def distance(x: Tensor | None, y: Tensor, where: Tensor | None = None) -> float:
    """The greatest absolute difference, of the entries in `where` only."""
    assert x is not None
    apart = (x.detach() - y).abs()
    apart = apart if where is None else apart[where]
    return float(apart.max()) if apart.numel() else 0.0
