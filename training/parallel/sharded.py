"""Fully sharded data parallelism: every process holds a share of every weight."""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Literal

import torch
from torch import distributed, nn
from torch.distributed.device_mesh import DeviceMesh
from typing_extensions import override

from sma import register
from sma.architectures.blocks.stack import Blocks
from sma.compilation import Recorded
from sma.training.parallel.family import ParallelSpec
from sma.training.parallel.processes import Processes, share_statistics
from sma.training.parallel.torchrun import Place


class Shards(Processes):
    """Every process holds a share of every weight, gradient and optimizer state.

    torch's `fully_shard` (ZeRO-3, https://arxiv.org/abs/1910.02054), block by block: a block's weights are
    gathered before it runs and dropped afterwards, and its gradients are reduced as backward leaves it.

    Args:
        place: of this process.
        mixed_precision: gather weights in bfloat16 and compute with them; gradients are reduced in float32.
            Weights that a module holds in float32 whatever it is moved to, such as decays, stay so.
    """

    def __init__(self, place: Place, *, mixed_precision: bool = False) -> None:
        super().__init__(place)
        self.mixed_precision = mixed_precision

    @override
    def wrap(self, model: nn.Module, call: Recorded) -> Recorded:
        share_statistics(model)
        # A group of its own, as in `Replicas`.
        self._mesh = DeviceMesh.from_group(distributed.new_group(), next(model.parameters()).device.type)
        self._wrapped = model
        self._shard(model)
        return call

    @override
    def wrap_average(self, model: nn.Module) -> None:
        self._shard(model)

    def _shard(self, model: nn.Module) -> None:
        from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

        mesh = self._mesh
        exact, policy = MixedPrecisionPolicy(), MixedPrecisionPolicy()
        if self.mixed_precision:
            policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
            for module in filter(_stays_exact, model.modules()):
                fully_shard(module, mesh=mesh, mp_policy=exact)
        for block in blocks_of(model):
            fully_shard(block, mesh=mesh, mp_policy=policy)
        fully_shard(model, mesh=mesh, mp_policy=policy)

    @override
    def check(self, *, compiled: bool) -> None:
        if compiled:
            raise ValueError("compile does not go with parallel fsdp; set compile=false, or use ddp")

    @override
    @contextmanager
    def accumulating(self, *, last: bool) -> Iterator[None]:
        self._wrapped.set_requires_gradient_sync(last)  # type: ignore[operator]
        yield


def blocks_of(model: nn.Module) -> list[nn.Module]:
    """The blocks of a model that are not inside another one; none where the model has no `Blocks`."""
    found: list[nn.Module] = []
    for child in model.children():
        found += list(child) if isinstance(child, Blocks) else blocks_of(child)
    return found


def _stays_exact(module: nn.Module) -> bool:
    """Whether a module keeps weights of its own in float32 when it is moved to bfloat16."""
    names = [name for name, _ in module.named_parameters(recurse=False)]
    if not names:
        return False
    moved = dict(deepcopy(module).bfloat16().named_parameters(recurse=False))
    return any(moved[name].dtype == torch.float32 for name in names)


@register
class FSDPSpec(ParallelSpec):
    """Every process holds a share of every weight: for models that do not fit otherwise, see `Shards`.

    `activation_checkpointing` of the run goes with it. Checkpoints are written by all processes together.

    Attributes:
        mixed_precision: gather and use weights in bfloat16; the optimizer keeps them in float32.
    """

    kind: Literal["fsdp"] = "fsdp"
    mixed_precision: bool = False

    @override
    def build(self, place: Place) -> Shards:
        return Shards(place, mixed_precision=self.mixed_precision)
