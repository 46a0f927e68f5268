"""Property 13: several processes have the gradients of one, also where some activate nothing."""

import subprocess
import sys

import pytest

PROCESS = """
import os, sys, torch
import torch.distributed as dist
from sma import SMA
from sma.modules import GAU, SigmoidRouter

rank, store = int(sys.argv[1]), sys.argv[2]
dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
torch.manual_seed(0)
layer = SMA(SigmoidRouter(8), [GAU(8, d_qk=4, window=2)])
with torch.no_grad():
    layer.router.projection.weight.zero_()[:, 0] = 9.0
x = torch.randn(2, 5, 8)
x[..., 0] = 1.0 - 2.0 * rank  # process 0 activates every element, process 1 none
parallel = torch.nn.parallel.DistributedDataParallel(layer)
for _ in range(2):  # a missing gradient would be noticed in the second step
    parallel(x).square().sum().backward()
if rank == 0:
    mine = [p.grad.clone() for p in layer.parameters()]
    layer.zero_grad()
    for _ in range(2):
        layer(x).square().sum().backward()
    for shared, alone in zip(mine, layer.parameters(), strict=True):
        torch.testing.assert_close(2 * shared, alone.grad)  # the mean of these and of zeros
dist.destroy_process_group()
"""


LOSSES = """
import sys, torch
import torch.distributed as dist
from datetime import timedelta
from torch import nn
import sma
from sma.architectures import seqboat
from sma.modules import (
    ActivationBudget, ExpertChoiceRouter, LatentConfigurator, Ramp, SigmoidRouter, TopKRouter, set_progress
)

rank, store, world = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
D, L = 8, 6


class Everything(nn.Module):
    def __init__(self):
        super().__init__()
        adapted = SigmoidRouter(D, n_modules=2)
        adapted.projection = nn.Sequential(nn.Linear(D, D), adapted.projection)
        self.routers = nn.ModuleList([
            ActivationBudget(adapted, rate=0.3, coefficient=1.0),
            ActivationBudget(LatentConfigurator(D, n_modules=2), rate=(Ramp(1.0, 0.2), 0.5), coefficient=2.0),
            TopKRouter(D, n_modules=4, top_k=2, balance_coefficient=0.5, z_coefficient=0.5),
            TopKRouter(D, n_modules=3, top_k=1, normalize=False, z_coefficient=0.0),
            ActivationBudget(
                ExpertChoiceRouter(D, n_modules=2, capacity=0.5, d_predictor=4), rate=0.2, coefficient=1.0
            ),
        ])
        self.model = seqboat(vocab_size=10, d_model=D, n_layers=2, d_qk=4, window=3, d_state=2).build()
        for part in self.model.modules():
            if isinstance(part, sma.SMA):
                part.router = ActivationBudget(part.router, rate=0.4, coefficient=1.0)
        set_progress(self, 0.4)

    def forward(self, x, tokens, mask):
        losses, sums = [], []
        for router in self.routers:
            routing = router(x, mask)
            sums.append(routing.confidence[routing.active].sum())
            losses += routing.losses.values()
        with sma.record() as recording:
            scores = self.model(tokens, mask)
        sums.append(scores[mask].sin().sum())
        losses += recording.losses.values()
        return torch.stack(losses), torch.stack(sums).sum()


torch.manual_seed(0)
everything = Everything().double()
with torch.no_grad():
    for p in everything.parameters():
        p.add_(0.3 * torch.randn_like(p))
    for router in everything.routers[:1]:
        router.router.projection[0].weight[:, 0] += 3
n_rows = [2 + r for r in range(world)]
lengths = [torch.randint(0 if r else L, L + 1, (n,)) * (r != world - 1) for r, n in enumerate(n_rows)]
masks = [torch.arange(L) < n[:, None] for n in lengths]  # the last rank has no real element
xs = [torch.randn(n, L, D, dtype=torch.float64) + r for r, n in enumerate(n_rows)]
tokens = [torch.randint(10, (n, L)) for n in n_rows]

expected, sums = everything(torch.cat(xs), torch.cat(tokens), torch.cat(masks))
(expected.sum() + sums).backward()
gradients = {name: p.grad.clone() for name, p in everything.named_parameters()}
assert len(expected) == 8

limit = timedelta(seconds=120)
dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=world, timeout=limit)
parallel = nn.parallel.DistributedDataParallel(everything)
for _ in range(2):  # a missing gradient would be noticed in the second step
    everything.zero_grad()
    losses, sums = parallel(xs[rank], tokens[rank], masks[rank])
    (losses.sum() + world * sums).backward()
torch.testing.assert_close(losses, expected, rtol=1e-9, atol=1e-12)
for name, p in everything.named_parameters():
    torch.testing.assert_close(p.grad, gradients[name], rtol=1e-8, atol=1e-10, msg=lambda m: f"{name}: {m}")
dist.barrier()
dist.destroy_process_group()
"""

EVALUATION = """
import sys, torch
import torch.distributed as dist
from sma.modules import ActivationBudget, SigmoidRouter

rank, store = int(sys.argv[1]), sys.argv[2]
dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
router = ActivationBudget(SigmoidRouter(4), rate=0.3, coefficient=1.0).eval()
if rank == 0:  # alone
    assert abs(router(torch.zeros(1, 5, 4)).losses["activation_budget"].item() - 0.09) < 1e-6
dist.barrier()
dist.destroy_process_group()
"""


DECODING = """
import copy, sys, torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
import sma.architectures as A

rank, store = int(sys.argv[1]), sys.argv[2]
torch.set_num_threads(1)
dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
mesh, tokens = init_device_mesh("cpu", (2,)), torch.arange(36).view(4, 9) % 11
window = {"window": 3}
options = {"seqboat": {"d_qk": 4, "d_state": 2, **window}, "ssm_only": {},
           "sma_all": {"d_state": 2, **window},
           "mega_chunk": {"chunk": 4}, "transformer": {"n_heads": 2, "max_positions": 20},
           "local_attention": {"n_heads": 2, **window},
           "mixtral_like": {"n_heads": 2, "n_experts": 3, "d_hidden": 6, "max_positions": 20}}
for name, arguments in options.items():
    torch.manual_seed(0)
    whole = getattr(A, name)(vocab_size=11, d_model=8, n_layers=1, **arguments).build().eval()
    model = copy.deepcopy(whole)
    for block in model.blocks:
        fully_shard(block, mesh=mesh)
        register_fsdp_forward_method(block, "step")
    fully_shard(model, mesh=mesh)
    for method in ("prefill", "step"):
        register_fsdp_forward_method(model, method)
    with torch.no_grad():
        expected = whole(tokens)
        scores, state = model.prefill(tokens[:, :7])
        torch.testing.assert_close(scores, expected[:, :7], msg=name)
        fresh = model.init_state(4)
        for t in range(8):
            torch.testing.assert_close(model.step(tokens[:, t], fresh), expected[:, t], msg=name)
        for t in (7, 8):
            torch.testing.assert_close(model.step(tokens[:, t], state), expected[:, t], msg=name)
    model.prefill(tokens)[0].square().sum().backward()
    whole(tokens).square().sum().backward()
    for (parameter, mine), theirs in zip(model.named_parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(mine.grad.full_tensor(), theirs.grad, msg=f"{name} {parameter}")
dist.destroy_process_group()
"""


def run(program, folder, n_processes):
    """Run a program once per rank, and wait until all have ended."""
    arguments = [str(folder / "store"), str(n_processes)]
    commands = [[sys.executable, "-c", program, str(rank), *arguments] for rank in range(n_processes)]
    processes = [subprocess.Popen(c, stderr=subprocess.PIPE, text=True) for c in commands]
    try:
        errors = [process.communicate(timeout=300)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0] * n_processes, "\n".join(errors)


@pytest.mark.slow
def test_a_process_that_activates_nothing_contributes_zero(tmp_path):
    run(PROCESS, tmp_path, 2)


@pytest.mark.slow
@pytest.mark.parametrize("n_processes", [2, 3])
def test_losses_and_gradients_are_those_of_one_process(tmp_path, n_processes):
    run(LOSSES, tmp_path, n_processes)


@pytest.mark.slow
def test_one_process_can_evaluate_alone(tmp_path):
    run(EVALUATION, tmp_path, 2)


@pytest.mark.slow
def test_sharded_blocks_of_which_only_step_is_registered_decode(tmp_path):
    run(DECODING, tmp_path, 2)
