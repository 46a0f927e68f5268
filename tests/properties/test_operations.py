"""Everything that can stand in a model counts its operations; what holds others adds theirs."""

from inspect import isabstract

import pytest
import torch
from golden import compare

from sma import SequenceModule, SubModule
from sma.architectures import SeqBoat, Stack, seqboat_block
from sma.architectures.published import layer_from_reference


def subclasses(base):
    for one in base.__subclasses__():
        yield one
        yield from subclasses(one)


KINDS = {
    kind
    for base in (SequenceModule, SubModule)
    for kind in subclasses(base)
    if kind.__module__.startswith("sma.") and not kind.__name__.startswith("_") and not isabstract(kind)
}


@pytest.mark.parametrize("kind", sorted(KINDS, key=lambda kind: kind.__name__))
def test_every_kind_counts(kind):
    base = SequenceModule if issubclass(kind, SequenceModule) else SubModule
    assert kind.flops is not base.flops


def test_what_holds_a_layer_counts_what_it_holds():
    block = seqboat_block(d_qk=4, d_state=2).build(8)
    assert block.flops(100) > 2 * 100 * 8 * 8
    assert SeqBoat(8, d_qk=4, d_state=2).flops(100) == block.flops(100)
    assert Stack([block, block]).flops(100) == 2 * block.flops(100)
    case = compare.load("ema_causal_L37_b2_trunc16")
    layer = layer_from_reference(case.config, case.group("state"))
    assert layer.flops(100) == layer.module.flops(100) > 0


def test_counting_needs_no_data():
    with torch.device("meta"):
        block = seqboat_block(d_qk=4).build(8)
    assert block.flops(3) == seqboat_block(d_qk=4).build(8).flops(3)
