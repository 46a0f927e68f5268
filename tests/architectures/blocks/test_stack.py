import torch

import sma
from sma.architectures import SequenceModelSpec
from sma.architectures.blocks.residual import ResidualSpec
from sma.architectures.blocks.stack import RoutedLayerSpec, StackSpec
from sma.architectures.specs.sma import SMASpec
from sma.testing import SequenceModuleContract, SpecContract, SubModuleContract

SSM = {"kind": "residual", "mixer": {"kind": "ema", "d_state": 2}, "branches": ["linear"]}
ATTENTION = {
    "kind": "residual",
    "branches": [{"kind": "sma", "router": "sigmoid", "modules": [{"kind": "gau", "d_qk": 2, "window": 2}]}],
}
BLOCK = {
    "kind": "residual",
    "activation": "identity",
    "mixer": {"kind": "ema", "d_state": 2},
    "branches": ["linear", {"kind": "dense", "module": {"kind": "gau", "d_qk": 2, "window": 2}}],
}
INNER = {"kind": "sma", "router": "sigmoid", "modules": [{"kind": "gau", "d_qk": 2, "window": 2}]}
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


class TestBlocks(SubModuleContract):
    def make(self):
        return RoutedLayerSpec.model_validate({"layer": BLOCK}).build(self.d_model)


class TestNestedSMA(SubModuleContract):
    def make(self):
        return RoutedLayerSpec.model_validate({"layer": INNER}).build(self.d_model)


class TestRoutedBlockSpec(SpecContract):
    def make(self):
        return RoutedLayerSpec.model_validate({"layer": {**BLOCK, "repeat": 2}, "change_only": True})


class TestRoutedLayerSpec(SpecContract):
    def make(self):
        return RoutedLayerSpec.model_validate({"layer": INNER})


def test_a_routed_block_is_the_block_on_the_active_elements():
    torch.manual_seed(0)
    module = RoutedLayerSpec.model_validate({"layer": BLOCK, "change_only": True}).build(4)
    x, active = torch.randn(1, 6, 4), torch.tensor([[True, False, True, True, False, True]])
    elements = sma.PackedCompaction().compress(x, active)
    expected = module.module(x[active][None])[0] - x[active]
    torch.testing.assert_close(module(elements), expected)


def test_nested_sma_is_recorded_with_its_own_rate():
    outer = SMASpec.model_validate(
        {
            "router": "sigmoid",
            "modules": [{"kind": "layer", "layer": INNER}, {"kind": "convolution", "kernel_size": 2}],
        }
    ).build(4)
    with sma.record(outer) as recording:
        outer(torch.randn(2, 9, 4))
    assert [layer.name for layer in recording.layers] == ["", "sub_modules.0.module"]
    received = recording.layers[0].n_elements[0]
    assert recording.layers[1].mask.sum() == received  # it routes among the elements that it was given


def test_a_repeated_block_is_routed_as_a_stack():
    block = ResidualSpec.model_validate({**SSM, "repeat": 3})
    repeated = RoutedLayerSpec(layer=block).build(4)
    stacked = RoutedLayerSpec(layer=StackSpec(blocks=(block,))).build(4)
    assert repeated.state_dict().keys() == stacked.state_dict().keys()
    stacked.load_state_dict(repeated.state_dict())
    elements = sma.PackedCompaction().compress(torch.randn(2, 5, 4), torch.rand(2, 5) > 0.4)
    torch.testing.assert_close(repeated(elements), stacked(elements))
