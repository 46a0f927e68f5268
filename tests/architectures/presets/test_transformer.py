from sma.architectures import local_attention, transformer


def test_transformers():
    spec = transformer(d_model=128, n_layers=3, vocab_size=11, max_positions=40)
    (layer,) = spec.blocks
    attention, feed_forward = (block.branches[0] for block in layer.blocks)
    assert (attention.n_heads, attention.max_positions, feed_forward.module.d_hidden) == (2, 40, 512)
    assert layer.repeat == 3
    assert [block.activation for block in layer.blocks] == ["identity"] * 2
    local = local_attention(d_model=8, n_layers=1, n_heads=4, window=5, d_input=1, n_classes=2)
    module = local.blocks[0].blocks[0].branches[0].module
    assert (module.window, module.bidirectional) == (5, True)
