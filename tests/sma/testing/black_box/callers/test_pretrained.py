"""Models of transformers."""

import pytest

from sma.testing import check_model
from sma.testing.black_box.callers.pretrained import PretrainedCaller

transformers = pytest.importorskip("transformers")

SIZES = {"vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
WIDE = {**SIZES, "intermediate_size": 8, "initializer_range": 0.3, "pad_token_id": 0}


def llama():
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**WIDE))


def test_a_causal_model_has_all_properties():
    report = check_model(llama(), examples=3, max_length=5)
    assert report.ok, report
    tried = {finding.name for finding in report if finding.verdict == "holds"}
    missing = {finding.name for finding in report} - tried
    assert missing == {"decoding past the window", "rows that join"}


class Passing(transformers.LlamaForCausalLM):
    """Names nothing of what it passes on."""

    def forward(self, input_ids=None, **kw):
        return super().forward(input_ids, **kw)


class Unmasked(transformers.LlamaForCausalLM):
    def forward(self, input_ids=None, **kw):
        kw.pop("attention_mask", None)
        return super().forward(input_ids, **kw)


class Around(transformers.LlamaPreTrainedModel, transformers.GenerationMixin):
    """No base class takes what it passes on."""

    def __init__(self, config):
        super().__init__(config)
        self.inner = transformers.LlamaForCausalLM(config)
        self.post_init()

    def forward(self, input_ids=None, **kw):
        return self.inner(input_ids, **kw)


def test_what_a_forward_passes_on_to_its_base_class_is_tried():
    report = check_model(Passing(transformers.LlamaConfig(**WIDE)), examples=2, max_length=4)
    missing = {finding.name for finding in report if finding.verdict != "holds"}
    assert missing == {"decoding past the window", "rows that join"}


def test_a_fault_in_what_is_passed_on_is_found():
    names = ["left padding", "padding's content", "decoding, left padding"]
    model = Unmasked(transformers.LlamaConfig(**WIDE))
    report = check_model(model, properties=names, examples=5, max_length=4, confirmed=False)
    assert [finding.verdict for finding in report] == ["violated"] * 3


def test_what_no_forward_names_is_said_to_be_not_tried_for_that():
    names = ["right padding", "packed rows", "decoding one by one", "beam reorder"]
    model = Around(transformers.LlamaConfig(**WIDE))
    report = check_model(model, properties=names, examples=2, max_length=4)
    lacks = "its forward(input_ids, **kw) does not name"
    assert [finding.reason for finding in report] == [
        f"{lacks} attention_mask; name it, or give a function (model, x, mask) by call=, or --call",
        f"{lacks} position_ids; name it",
        f"{lacks} past_key_values; name it",
        f"{lacks} past_key_values; name it",
    ]


def test_a_documented_limit():
    config = transformers.BertConfig(**WIDE, max_position_embeddings=32)
    model = transformers.BertForMaskedLM(config)
    names = ["left padding", "causality", "decoding one by one", "packed rows"]
    report = check_model(model, properties=names, examples=5, max_length=5, confirmed=False)
    assert report.ok
    assert report["left padding"].verdict == "limit"
    assert (
        "padded on the right because BERT uses absolute position embeddings" in report["left padding"].reason
    )
    assert report["causality"].reason == "it is not causal"
    assert [report[name].verdict for name in names[2:]] == ["not tried"] * 2


def test_a_difference_that_positions_mend_is_said_to_be_one():
    config = transformers.ElectraConfig(**WIDE, embedding_size=8, max_position_embeddings=32)
    model = transformers.ElectraForMaskedLM(config)
    report = check_model(model, properties=["left padding"], examples=5, max_length=5, confirmed=False)
    assert report["left padding"].verdict == "violated"
    assert report["left padding"].reason == "it holds with position_ids of the real elements"
    assert report["left padding"].program.startswith("import torch\nfrom transformers import ElectraConfig")


def test_special_tokens_are_not_drawn():
    config = transformers.LlamaConfig(**{**WIDE, "pad_token_id": 3}, bos_token_id=0, eos_token_id=[1, 2])
    caller = PretrainedCaller(transformers.LlamaForCausalLM(config))
    assert not {0, 1, 2, 3} & set(caller.inputs.ids)
    assert caller.inputs.padding == 3


def test_an_encoder_with_a_decoder_is_refused():
    config = transformers.T5Config(vocab_size=8, d_model=8, d_ff=8, num_layers=1, num_heads=1)
    with pytest.raises(ValueError, match="is an encoder with a decoder; check model"):
        check_model(transformers.T5ForConditionalGeneration(config))


def test_messages_are_restored():
    before = transformers.utils.logging.get_verbosity()
    check_model(llama(), properties=["save and load"])
    assert transformers.utils.logging.get_verbosity() == before
    assert transformers.utils.logging.is_progress_bar_enabled()
