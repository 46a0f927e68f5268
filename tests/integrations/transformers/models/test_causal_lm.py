import copy
import itertools

import pytest
import torch
from torch import nn
from transformers import DynamicCache, GenerationConfig, StoppingCriteria
from transformers.generation.streamers import BaseStreamer

import sma
from sma.architectures import seqboat
from sma.training.generation import generate
from sma.transformers import SMAForCausalLM, StateCache


def continued(model, tokens, **options):
    options = {"max_new_tokens": 10, "do_sample": False, "eos_token_id": None} | options
    return model.generate(tokens, **options)


def test_greedy_text_is_that_of_this_project(causal, plain):
    """Byte 0 ends a text; several prompts, since a random model may end one at once."""
    texts = []
    for prompt in (b"def ", b"x", b"The", b"\xff\xfe", b"0" * 30):
        ours = bytes(generate(plain, prompt, n_tokens=12, temperature=0))
        tokens = torch.tensor([[0, *prompt]])
        theirs = causal.generate(tokens, max_new_tokens=12, do_sample=False)[0, tokens.shape[1] :].tolist()
        assert bytes(theirs).partition(b"\0")[0] == ours
        texts.append(ours)
    assert max(map(len, texts)) == 12
    assert len(set(texts)) > 1


@pytest.mark.parametrize(
    "options", [{}, {"do_sample": True}, {"num_beams": 3}, {"num_beams": 2, "do_sample": True}]
)
def test_a_cache_changes_nothing(causal, tokens, options):
    texts = []
    for use_cache in (True, False):
        torch.manual_seed(0)
        texts.append(continued(causal, tokens, use_cache=use_cache, **options))
    assert torch.equal(*texts)
    assert texts[0].shape == (3, 19)


def test_the_scores_of_every_step_are_those_of_this_project(causal, plain, tokens):
    torch.manual_seed(0)
    found = continued(causal, tokens, do_sample=True, return_dict_in_generate=True, output_logits=True)
    with torch.no_grad():
        logits, state = plain.prefill(tokens)
        new = found.sequences[:, tokens.shape[1] : -1].unbind(1)
        scores = [logits[:, -1], *(plain.step(token, state) for token in new)]
    torch.testing.assert_close(torch.stack(found.logits), torch.stack(scores))


def test_a_wide_beam_finds_the_most_probable_text():
    torch.manual_seed(0)
    model = seqboat(vocab_size=4, d_model=16, n_layers=2, window=3, d_qk=4, d_state=2).build().eval()
    nn.init.normal_(model.embedding.weight)
    prompt = torch.tensor([[1, 2, 3]])
    best = continued(SMAForCausalLM.from_model(model), prompt, num_beams=16, max_new_tokens=3)
    endings = torch.tensor(list(itertools.product(range(4), repeat=3)))
    rows = torch.cat([prompt.expand(len(endings), -1), endings], 1)
    with torch.no_grad():
        logs = model(rows).log_softmax(-1)[:, 2:-1].gather(2, endings[..., None]).sum((1, 2))
    assert best[0, 3:].tolist() == endings[logs.argmax()].tolist()


def test_rows_that_are_padded_on_the_left_are_continued_as_alone(causal):
    prompts = [[7, 8, 9, 10, 11, 12], [65], [1, 2, 3]]
    padded = torch.tensor([[0] * (6 - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (6 - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    for options in ({}, {"use_cache": False}, {"prefill_chunk_size": 4}):
        together = continued(causal, padded, attention_mask=mask, **options)[:, 6:]
        for row, prompt in zip(together, prompts, strict=True):
            assert torch.equal(row, continued(causal, torch.tensor([prompt]))[0, len(prompt) :])


def test_a_text_goes_on_from_a_cache_that_is_kept(causal, tokens):
    cache = StateCache()
    start = continued(causal, tokens, past_key_values=cache)
    kept = copy.deepcopy(cache)
    longer = torch.cat([start, tokens], 1)
    for one in (cache, kept):
        assert torch.equal(continued(causal, longer, past_key_values=one), continued(causal, longer))


class Collector(BaseStreamer):
    def __init__(self):
        self.seen, self.ended = [], False

    def put(self, value):
        self.seen += value.flatten().tolist()

    def end(self):
        self.ended = True


def test_tokens_are_streamed_as_they_come(causal):
    streamer, prompt = Collector(), torch.tensor([[0, 104, 105]])
    text = continued(causal, prompt, streamer=streamer)
    assert streamer.ended
    assert streamer.seen == text[0].tolist()


class After(StoppingCriteria):
    """Ends a row that has so many tokens."""

    def __init__(self, lengths):
        self.lengths = torch.tensor(lengths)

    def __call__(self, input_ids, scores, **kwargs):
        return input_ids.shape[1] >= self.lengths


def test_stopping_criteria_end_rows(causal, tokens):
    free = continued(causal, tokens)
    assert torch.equal(continued(causal, tokens, stopping_criteria=[After([11, 11, 11])]), free[:, :11])
    end = int(free[1, 12])
    stopped = continued(causal, tokens, eos_token_id=end, pad_token_id=255)
    assert (stopped[1, list(free[1, 9:]).index(end) + 10 :] == 255).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"prompt_lookup_num_tokens": 2},
            "assisted_generation: the state of a recurrent model cannot go back",
        ),
        ({"penalty_alpha": 0.6, "top_k": 4}, "contrastive_search: it compares the hidden states.*use greedy"),
        ({"dola_layers": "low"}, "dola_generation: .*use greedy search"),
        ({"num_beams": 4, "num_beam_groups": 2, "diversity_penalty": 0.5}, "group_beam_search: .*use greedy"),
        ({"cache_implementation": "static"}, "cache_implementation='static'.*leave it out"),
        ({"cache_implementation": "paged"}, "cache_implementation='paged'.*State.join"),
        (
            {"generation_config": GenerationConfig(cache_implementation="quantized")},
            "cache_implementation='quantized'.*leave it out",
        ),
        (
            {"past_key_values": DynamicCache()},
            "past_key_values is a DynamicCache; give a sma.transformers.State",
        ),
        (
            {"attention_mask": torch.tensor([[1, 1, 1, 0]])},
            "padded on the right.*set tokenizer.padding_side='left'",
        ),
        (
            {"output_hidden_states": True, "return_dict_in_generate": True},
            "output_hidden_states=True: .*use_cache",
        ),
        ({"attention_mask": torch.ones(1, 4, 4)}, "attention_mask"),
    ],
)
def test_what_generate_refuses_is_said_in_one_line(causal, options, message):
    with pytest.raises(ValueError, match=message) as error:
        causal.generate(torch.tensor([[5, 6, 7, 8]]), max_new_tokens=2, **options)
    assert "\n" not in str(error.value)


def test_an_assistant_model_is_refused(causal, tokens):
    with pytest.raises(ValueError, match=r"assisted_generation: .*use greedy search"):
        continued(causal, tokens[:1], assistant_model=causal)


def test_continuous_batching_is_refused(causal):
    with pytest.raises(ValueError, match=r"cache_implementation='paged'.*State.join"):
        causal.generate_batch([[1, 2], [3]])


def test_padding_on_the_right_is_found_without_a_mask(causal):
    with pytest.raises(ValueError, match="padded on the right"):
        continued(causal, torch.tensor([[5, 6, 7], [5, 255, 255]]), pad_token_id=255)


def test_a_model_without_a_state_decodes_without_a_cache(tokens):
    spec = {
        "preset": "seqboat_full",
        "vocab_size": 256,
        "d_model": 16,
        "n_layers": 1,
        "d_qk": 4,
        "d_state": 2,
    }
    model = SMAForCausalLM.from_model(sma.architectures.parse_spec(spec).build().eval())
    with pytest.raises(
        ValueError, match=r"use_cache=True: .*cannot decode step by step.*set use_cache=False"
    ):
        continued(model, tokens)
    assert continued(model, tokens, use_cache=False).shape == (3, 19)


def oracle(logits, labels):
    """The cross-entropies of scored labels, one by one."""
    return [
        -row[t].log_softmax(-1)[label[t + 1]]
        for row, label in zip(logits, labels, strict=True)
        for t in range(len(label) - 1)
        if label[t + 1] != -100
    ]


def test_the_loss_compares_each_label_with_the_scores_before_it(causal, tokens):
    labels = tokens.masked_fill(tokens % 3 == 0, -100)
    output = causal(tokens, labels=labels)
    each = oracle(output.logits, labels)
    assert 0 < len(each) < 24
    torch.testing.assert_close(output.loss, torch.stack(each).mean())
    torch.testing.assert_close(causal(tokens, labels=labels, num_items_in_batch=50).loss, sum(each) / 50)
    assert causal(tokens, labels=torch.full_like(tokens, -100)).loss == 0


def test_the_routers_losses_count_in_training_only(causal, plain, tokens):
    mask = torch.ones_like(tokens)
    mask[1, 5:] = 0
    labels = tokens.masked_fill(mask == 0, -100)
    without = causal(tokens, mask, labels=labels).loss
    causal.train()
    with sma.record(plain) as recording:
        loss = causal(tokens, mask, labels=labels).loss
    assert len(recording.layers) == 2
    (auxiliary,) = recording.losses.values()
    assert auxiliary > 0
    torch.testing.assert_close(loss, without + auxiliary)
    loss.backward()
    with sma.record(plain) as recording:
        part = causal(tokens, mask, labels=labels, num_items_in_batch=40).loss
    torch.testing.assert_close(part, loss * 20 / 40)
    assert all(parameter.grad is not None for parameter in causal.parameters())


def test_padding_anywhere_changes_nothing_else(causal, tokens):
    mask = torch.ones_like(tokens)
    mask[0, 3:5] = mask[1, :4] = mask[2, 6:] = 0
    logits = causal(tokens, mask).logits
    for row, real, scores in zip(tokens, mask.bool(), logits, strict=True):
        torch.testing.assert_close(scores[real], causal(row[real][None]).logits[0])


def test_hidden_states_lead_to_the_scores(causal, plain, tokens):
    hidden = causal(tokens, output_hidden_states=True).hidden_states
    assert len(hidden) == 3
    torch.testing.assert_close(hidden[0], plain.embedding(tokens))
    torch.testing.assert_close(hidden[1], plain.blocks[0](hidden[0]))
    torch.testing.assert_close(plain.head(hidden[-1]), plain(tokens))
    assert causal(tokens).hidden_states is None


def test_fewer_scores_and_tuples(causal, tokens):
    logits = causal(tokens).logits
    assert torch.equal(causal(tokens, logits_to_keep=2).logits, logits[:, -2:])
    assert torch.equal(causal(tokens, logits_to_keep=torch.tensor([0, 3])).logits, logits[:, [0, 3]])
    assert torch.equal(causal(tokens, return_dict=False)[0], logits)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"inputs_embeds": torch.zeros(3, 9, 16)}, "inputs_embeds is not read.*give tokens"),
        ({"position_ids": torch.arange(9)[None]}, "position_ids is not read.*rows of their own"),
        ({"token_type_ids": torch.ones(3, 9)}, "token_type_ids is not read.*one text per row"),
        ({"output_attentions": True}, "output_attentions is not read.*sma.record"),
        ({"colour": "red"}, "colour is not read by models of sma; leave it out"),
        (
            {"labels": torch.zeros(3, 4).long()},
            r"labels are \(3, 4\) torch.int64, but must be integers of shape",
        ),
        ({"labels": torch.zeros(3, 9)}, r"labels are \(3, 9\) torch.float32"),
        (
            {"attention_mask": torch.ones(3, 1, 9, 9)},
            r"attention_mask is \(3, 1, 9, 9\), but must be \(B, L\)",
        ),
        (
            {"past_key_values": StateCache(), "attention_mask": torch.ones(3, 8)},
            "attention_mask covers 8.*are 9",
        ),
        ({"input_ids": None}, "give input_ids, what the embedding of kind 'tokens' reads"),
        ({"input_ids": torch.full((1, 2), 256)}, "token 256 is not in the vocabulary"),
    ],
)
def test_wrong_arguments_are_named_in_one_line(causal, tokens, options, message):
    with pytest.raises(ValueError, match=message) as error:
        causal(**{"input_ids": tokens} | options)
    assert "\n" not in str(error.value)


def test_another_head_is_refused(config):
    with pytest.raises(
        ValueError, match=r"head.kind='classifier' does not predict the next token; use SMAForSeq"
    ):
        SMAForCausalLM(config.with_head(kind="classifier", n_classes=2))


def test_types_of_tokens_that_say_nothing_are_taken(causal, tokens):
    assert torch.equal(causal(tokens, token_type_ids=torch.zeros_like(tokens)).logits, causal(tokens).logits)


@pytest.mark.parametrize("name", ["inputs", "input_ids"])
def test_an_empty_prompt_is_refused(causal, tokens, name):
    with pytest.raises(
        ValueError, match=r"the prompt is empty, of shape \(\d+, 0\); give at least one token"
    ):
        causal.generate(**{name: tokens[:, :0]}, max_new_tokens=2)
