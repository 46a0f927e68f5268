import torch

from sma.architectures import SequenceModelSpec, StackSpec
from sma.architectures.blocks.residual import ResidualSpec
from sma.testing import SequenceModuleContract, SpecContract

SSM = {"kind": "residual", "mixer": {"kind": "ema", "d_state": 2}, "branches": ["linear"]}
ATTENTION = {
    "kind": "residual",
    "branches": [{"kind": "sma", "router": "sigmoid", "modules": [{"kind": "gau", "d_qk": 2, "window": 2}]}],
}
PATTERN = StackSpec.model_validate({"blocks": [{**SSM, "repeat": 3}, ATTENTION], "repeat": 2})


class TestStack(SequenceModuleContract):
    def make(self):
        return StackSpec.model_validate({"blocks": [SSM, ATTENTION]}).build(self.d_model)


class TestStackSpec(SpecContract):
    def make(self):
        return PATTERN


def test_a_pattern_repeats():
    spec = SequenceModelSpec.model_validate(
        {
            "d_model": 4,
            "embedding": {"kind": "tokens", "vocab_size": 7},
            "blocks": [PATTERN],
            "head": "language_model",
        }
    )
    model = spec.build()
    assert [len(block.blocks) for block in model.blocks] == [4, 4]
    assert model(torch.zeros(1, 3, dtype=torch.long)).shape == (1, 3, 7)


def test_a_stack_is_its_blocks_in_order():
    torch.manual_seed(0)
    stack = StackSpec(blocks=(ResidualSpec.model_validate({**SSM, "repeat": 2}),)).build(4)
    x = torch.randn(2, 5, 4)
    torch.testing.assert_close(stack(x), stack.blocks[1](stack.blocks[0](x)))
