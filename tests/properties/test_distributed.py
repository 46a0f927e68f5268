"""Property 6 in practice: distributed training where one process activates nothing."""

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


@pytest.mark.slow
def test_a_process_that_activates_nothing_contributes_zero(tmp_path):
    commands = [[sys.executable, "-c", PROCESS, str(rank), str(tmp_path / "store")] for rank in range(2)]
    processes = [subprocess.Popen(c, stderr=subprocess.PIPE, text=True) for c in commands]
    try:
        errors = [process.communicate(timeout=300)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], "\n".join(errors)
