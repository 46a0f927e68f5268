"""`MixtureOfExperts` against transformers' Mixtral block with the same weights, and against single experts.

    python -m benchmarks.experts [--threads 2] [--rounds 10]

One training step (forward and backward). Without transformers its part is left out.
"""

import argparse
import importlib.util

import torch
from torch import Tensor, nn

from benchmarks.measure import compare, table, training_step
from sma import SMA
from sma.modules import ExpertBank, GatedFeedForward, MixtureOfExperts, TopKRouter

N_EXPERTS, TOP_K = 8, 2


def experts_apart(layer: MixtureOfExperts, d_model: int, d_hidden: int) -> SMA:
    experts = [GatedFeedForward(d_model, d_hidden=d_hidden) for _ in range(N_EXPERTS)]
    for e, expert in enumerate(experts):
        expert.gate_and_hidden.weight.data.copy_(layer.bank.weight_in[e].T)
        expert.out.weight.data.copy_(layer.bank.weight_out[e].T)
    return SMA(layer.router, experts)


def mixtral(layer: MixtureOfExperts, d_model: int, d_hidden: int, implementation: str) -> nn.Module:
    from transformers import MixtralConfig
    from transformers.models.mixtral.modeling_mixtral import MixtralSparseMoeBlock

    config = MixtralConfig(
        hidden_size=d_model,
        intermediate_size=d_hidden,
        num_local_experts=N_EXPERTS,
        num_experts_per_tok=TOP_K,
        experts_implementation=implementation,
    )
    block = MixtralSparseMoeBlock(config)
    block.gate.weight.data.copy_(layer.router.projection.weight)
    block.experts.gate_up_proj.data.copy_(layer.bank.weight_in.mT)
    block.experts.down_proj.data.copy_(layer.bank.weight_out.mT)
    return block


def run(d_model: int, d_hidden: int, n_elements: int, rounds: int) -> None:
    torch.manual_seed(0)
    router = TopKRouter(
        d_model, n_modules=N_EXPERTS, top_k=TOP_K, balance_coefficient=0, z_coefficient=0
    )  # the block computes no losses either
    layer = MixtureOfExperts(router, ExpertBank(d_model, n_experts=N_EXPERTS, d_hidden=d_hidden))
    modules: dict[str, nn.Module] = {
        "MixtureOfExperts": layer,
        "SMA of single experts": experts_apart(layer, d_model, d_hidden),
    }
    if importlib.util.find_spec("transformers"):
        for implementation in ("eager", "grouped_mm"):
            modules[f"transformers Mixtral, {implementation}"] = mixtral(
                layer, d_model, d_hidden, implementation
            )
    x = torch.randn(1, n_elements, d_model)
    _check_equal(modules, x)
    print(f"\nD {d_model}, d_hidden {d_hidden}, {n_elements} elements, {TOP_K} of {N_EXPERTS} experts")
    print(table(compare({name: training_step(module, x) for name, module in modules.items()}, rounds=rounds)))


def _check_equal(modules: dict[str, nn.Module], x: Tensor) -> None:
    expected, *others = (module(x) for module in modules.values())
    for y in others:
        torch.testing.assert_close(y, expected)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=10)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"torch {torch.__version__}, {arguments.threads} threads")
    if not importlib.util.find_spec("transformers"):
        print("transformers is not installed: no comparison with Mixtral")
    for d_hidden in (512, 1024):
        run(d_model=256, d_hidden=d_hidden, n_elements=4096, rounds=arguments.rounds)


if __name__ == "__main__":
    main()
