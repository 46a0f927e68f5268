"""Limits: of an architecture, not of any model that has its type."""

import pytest
import torch

from sma.testing import check_model

transformers = pytest.importorskip("transformers")
SIZES = {"vocab_size": 16, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}


class LeakingLlama(transformers.LlamaForCausalLM):
    """Sees all documents of a row: a mask is always given."""

    def forward(self, input_ids, attention_mask=None, position_ids=None, **kwargs):
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        return super().forward(input_ids, attention_mask=mask, position_ids=position_ids, **kwargs)


class MyOPT(transformers.OPTForCausalLM):
    """An architecture that does not tell documents apart, in code of one's own."""


def packed_rows(model):
    report = check_model(model.eval(), properties=["packed rows"], examples=8, confirmed=False)
    return report["packed rows"]


def test_a_leak_of_ones_own_is_a_violation():
    config = transformers.LlamaConfig(**SIZES, intermediate_size=8)
    assert packed_rows(transformers.LlamaForCausalLM(config)).verdict == "holds"
    assert packed_rows(LeakingLlama(config)).verdict == "violated"


@pytest.mark.parametrize("model", [transformers.OPTForCausalLM, MyOPT])
def test_an_architecture_without_support_has_a_limit(model):
    config = transformers.OPTConfig(**SIZES, ffn_dim=8, word_embed_proj_dim=8, max_position_embeddings=16)
    finding = packed_rows(model(config))
    assert finding.verdict == "limit"
    wanted = "not supported by this architecture: positions that begin anew do not separate documents"
    assert finding.reason == wanted


class LeakingGPT2(transformers.GPT2LMHeadModel):
    """Sees padding, which no positions mend."""

    def forward(self, input_ids, attention_mask=None, position_ids=None, **kwargs):
        return super().forward(input_ids, position_ids=position_ids, **kwargs)


def test_documentation_is_quoted_if_nothing_else_is_wrong():
    config = transformers.GPT2Config(vocab_size=16, n_embd=8, n_layer=1, n_head=2, n_positions=32)
    for model, verdict in ((transformers.GPT2LMHeadModel, "limit"), (LeakingGPT2, "violated")):
        report = check_model(model(config), properties=["left padding"], examples=5, confirmed=False)
        finding = report["left padding"]
        assert finding.verdict == verdict
        quoted = finding.reason.startswith('documented (page of GPT-2): "Pad inputs on the right')
        assert quoted == (verdict == "limit")
