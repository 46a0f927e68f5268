import pytest
import torch

import sma
from sma.architectures import (
    Residual,
    SeqBoat,
    gau_always,
    save_model,
    seqboat,
    seqboat_block,
    seqboat_full,
    ssm_only,
)

SIZES = {"d_model": 8, "n_layers": 2, "d_qk": 4, "d_state": 2}


@pytest.mark.parametrize("bidirectional", [False, True])
def test_the_layer_is_the_block_of_its_spec(bidirectional):
    options = {"window": 4, "d_qk": 4, "bidirectional": bidirectional, "dropout": 0.1, "attention": "relu2"}
    torch.manual_seed(0)
    layer = SeqBoat(16, **options)
    torch.manual_seed(0)
    block = seqboat_block(**options).build(16)
    assert isinstance(layer, Residual)
    assert layer.spec == seqboat_block(**options)
    assert layer.causal == block.causal == (not bidirectional)
    assert layer.flops(100) == block.flops(100) > 0
    assert list(layer.state_dict()) == list(block.state_dict())
    x, mask = torch.randn(2, 9, 16), torch.arange(9) < torch.tensor([[9], [5]])
    for mode in (False, True):
        layer.train(mode)
        block.train(mode)
        torch.manual_seed(1)
        expected = block(x, mask)
        torch.manual_seed(1)
        assert torch.equal(layer(x, mask), expected)


def test_its_weights_are_those_of_a_block_in_a_model():
    model = seqboat(**SIZES, vocab_size=11).build()
    layer = SeqBoat(8, d_qk=4, d_state=2)
    layer.load_state_dict(model.blocks[1].state_dict())
    x = torch.randn(2, 9, 8)
    assert torch.equal(layer(x), model.blocks[1](x))


def test_one_layer_is_one_layer():
    with pytest.raises(ValueError, match="SeqBoat is one layer, got n_layers=2"):
        SeqBoat(8, n_layers=2)
    with pytest.raises(TypeError, match=r"no option 'windows'.*window"):
        SeqBoat(8, windows=2)


def test_a_layer_is_not_a_model(tmp_path):
    with pytest.raises(ValueError, match="a model that a spec built, got SeqBoat"):
        save_model(SeqBoat(8, d_qk=4), tmp_path)


def test_gau_always_activates_everything():
    model = gau_always(**SIZES, window=3, vocab_size=11).build()
    with sma.record() as recording:
        model(torch.randint(11, (2, 9)))
    assert [layer.routing.active.all().item() for layer in recording.layers] == [True, True]
    assert all((layer.routing.confidence == 1).all() for layer in recording.layers)


def test_ssm_only_is_seqboat_whose_router_never_activates():
    model = ssm_only(d_model=8, n_layers=2, d_state=2, vocab_size=11).build()
    with sma.record() as recording:
        model(torch.randint(11, (2, 9)))
    assert not recording.layers
    assert len(model.blocks[0].branches) == 1


def test_seqboat_full_sees_every_activated_element():
    spec = seqboat_full(**SIZES, vocab_size=11)
    assert spec.blocks[0].branches[1].modules[0].window is None
    with pytest.raises(ValueError, match="window=3; use seqboat"):
        seqboat_full(**SIZES, vocab_size=11, window=3)


def test_what_is_left_out_has_no_options():
    with pytest.raises(TypeError, match="ssm_only: there is no option 'window'"):
        ssm_only(d_model=8, n_layers=2, vocab_size=11, window=3)
    with pytest.raises(TypeError, match="gau_always: there is no option 'init_temperature_scale'"):
        gau_always(**SIZES, vocab_size=11, init_temperature_scale=0.3)
