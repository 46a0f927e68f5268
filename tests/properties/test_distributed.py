"""Several processes: training where one of them activates nothing, and decoding with sharded parameters."""

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


def run(program, folder, timeout):
    commands = [[sys.executable, "-c", program, str(rank), str(folder / "store")] for rank in range(2)]
    processes = [subprocess.Popen(c, stderr=subprocess.PIPE, text=True) for c in commands]
    try:
        errors = [process.communicate(timeout=timeout)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], "\n".join(errors)


@pytest.mark.slow
def test_a_process_that_activates_nothing_contributes_zero(tmp_path):
    run(PROCESS, tmp_path, timeout=300)


@pytest.mark.slow
def test_sharded_blocks_of_which_only_step_is_registered_decode(tmp_path):
    run(DECODING, tmp_path, timeout=300)
