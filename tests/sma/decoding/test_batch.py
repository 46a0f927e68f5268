"""Streams of a running batch against each of them alone, by the model's forward pass."""

from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from sma import State
from sma.architectures import moe_seqboat, parse_spec, seqboat, transformer
from sma.decoding import Batch, Sampling, choose

V, LONGEST = 7, 24


def build(preset, **options):
    torch.manual_seed(0)
    return preset(vocab_size=V, d_model=8, n_layers=1, **options).build().double().eval()


MODELS = {
    "seqboat": build(seqboat, d_qk=4, window=3, d_state=2),
    "moe_seqboat": build(moe_seqboat, d_qk=4, window=3, d_state=2, n_experts=3),
    "transformer": build(transformer, n_heads=2, max_positions=LONGEST),
}


@torch.no_grad()
def alone(model, prompt, sampling):
    """The tokens of one stream, the whole row run again for each of them."""
    generator = torch.Generator().manual_seed(sampling.seed)
    row = list(prompt)
    for _ in range(sampling.n_tokens):
        row += choose(model(torch.tensor([row]))[:, -1], [sampling], [generator])
        if row[-1] in sampling.stop:
            break
    return row[len(prompt) :]


samplings = st.builds(
    Sampling,
    n_tokens=st.integers(0, 8),
    temperature=st.sampled_from([0.0, 0.7, 1.5]),
    top_k=st.sampled_from([None, 3]),
    top_p=st.sampled_from([None, 0.8]),
    stop=st.sampled_from([(), (2,), (0, 5)]),
    seed=st.integers(0, 3),
)
requests = st.lists(
    st.tuples(st.integers(0, 6), st.lists(st.integers(0, V - 1), min_size=1, max_size=16), samplings),
    max_size=7,
)


@pytest.mark.parametrize("name", MODELS)
@settings(max_examples=15)
@given(requests=requests, max_rows=st.integers(1, 4), chunk=st.sampled_from([1, 5, 64]))
def test_a_stream_is_equal_to_itself_alone(name, requests, max_rows, chunk):
    model = MODELS[name]
    batch = Batch(model, max_rows, chunk=chunk)
    streams, received, arriving = {}, {}, sorted(requests, key=lambda request: request[0])
    for time in range(200):
        while arriving and arriving[0][0] <= time:
            _, prompt, sampling = arriving.pop(0)
            streams[batch.add(prompt, sampling)] = alone(model, prompt, sampling)
        made = batch.step()
        assert len(made) <= max_rows
        assert len({stream for stream, _ in made}) == len(made)
        for stream, token in made:
            received.setdefault(stream, []).append(token)
        if not arriving and not len(batch):
            break
    for stream, expected in streams.items():
        assert stream.tokens == received.get(stream, []) == expected
        assert stream.ending == ("stop" if expected and expected[-1] in stream.settings.stop else "length")


@settings(max_examples=15)
@given(st.lists(st.tuples(st.integers(0, 9), st.booleans()), min_size=1, max_size=8), st.data())
def test_a_stream_that_is_cancelled_changes_no_other(plan, data):
    batch = Batch(MODELS["seqboat"], 3, chunk=4)
    sampling = Sampling(n_tokens=6, temperature=0)
    prompts = [
        [i % V, 1, 2, i % 3][: 1 + length % 4] * (1 + length // 4) for i, (length, _) in enumerate(plan)
    ]
    streams = [batch.add(prompt, sampling) for prompt in prompts]
    leaving = [stream for stream, (_, leaves) in zip(streams, plan, strict=True) if leaves]
    while len(batch):
        batch.step()
        if leaving and data.draw(st.booleans()):
            batch.cancel(leaving.pop())
    for stream, prompt in zip(streams, prompts, strict=True):
        expected = alone(MODELS["seqboat"], prompt, sampling)
        assert stream.tokens == expected[: len(stream.tokens)]
        assert stream.ending == ("length" if len(stream.tokens) == 6 else "cancelled")


def test_a_long_prompt_does_not_hold_up_the_others():
    batch = Batch(MODELS["seqboat"], 3, chunk=4)
    writing = batch.add([1], Sampling(n_tokens=50, temperature=0))
    batch.step()
    long = batch.add([1] * 40, Sampling(n_tokens=1, temperature=0))
    short = batch.add([2, 3], Sampling(n_tokens=1, temperature=0))
    assert [stream for stream, _ in batch.step()] == [writing, short]
    n_steps = 1
    while long.ending is None:
        assert writing in [stream for stream, _ in batch.step()]
        n_steps += 1
    assert n_steps == 11  # 2 elements beside the short prompt, then 38 in chunks of 4


def test_rows_are_full_and_served_in_the_order_of_arrival():
    batch = Batch(MODELS["seqboat"], 2)
    streams = [batch.add([i], Sampling(n_tokens=1 + i, temperature=0)) for i in range(5)]
    order = [[streams.index(stream) for stream, _ in batch.step()] for _ in range(8)]
    assert [sorted(step) for step in order] == [[0, 1], [1, 2], [2, 3], [2, 3], [3, 4], [3, 4], [4], [4]]
    assert len(batch) == 1


def test_iterating_goes_on_until_all_have_ended():
    batch = Batch(MODELS["seqboat"], 2)
    first = batch.add([1], Sampling(n_tokens=2))
    for stream, _ in batch:
        if stream is first and first.ending:
            batch.add([2], Sampling(n_tokens=2))
            first = None
    assert len(batch) == 0


@dataclass(frozen=True)
class Last(State):
    token: Tensor


class Fails(nn.Module):
    """Scores that are not finite after token 3; else the next token is the most probable."""

    def __init__(self):
        super().__init__()
        self.table = nn.Parameter(torch.eye(V).roll(1, 1))

    def init_state(self, batch_size):
        return Last(torch.zeros(batch_size, dtype=torch.long))

    def prefill(self, inputs, mask, state):
        scores = self.table[inputs].masked_fill((inputs == 3)[..., None], float("inf"))
        return scores, state

    def step(self, inputs, state):
        return self.prefill(inputs, None, state)[0]


def test_a_stream_whose_scores_are_not_finite_fails_alone():
    batch = Batch(Fails().eval(), 2)
    fails, goes_on = (batch.add([token], Sampling(n_tokens=3, temperature=0)) for token in (2, 4))
    list(batch)
    assert (fails.tokens, fails.ending) == ([3], "failed")
    assert "scores a token by inf" in fails.error
    assert (goes_on.tokens, goes_on.ending, goes_on.error) == ([5, 6, 0], "length", None)


@pytest.mark.parametrize(
    ("prompt", "options", "message"),
    [
        ([], {}, "prompt is empty; give at least one token"),
        ([1, V], {}, r"prompt has the token 7, which is not in the vocabulary, 0 to 6; encode it"),
        (torch.tensor([-1]), {}, "prompt has the token -1"),
        ([1] * 20, {"n_tokens": 6}, "prompt of 20 tokens and n_tokens=6 make a row of 25, more than the 24"),
    ],
)
def test_what_cannot_be_served_is_refused(prompt, options, message):
    batch = Batch(MODELS["transformer"], 1)
    with pytest.raises(ValueError, match=message):
        batch.add(prompt, Sampling(**options))
    assert len(batch) == 0


class LooksAhead(Fails):
    """A model that has no decoding state."""

    def init_state(self, batch_size):
        raise NotImplementedError("it looks ahead")


def test_sizes_of_a_batch():
    for name in ("max_rows", "chunk"):
        with pytest.raises(ValueError, match=f"{name}=0 must be an integer of at least 1"):
            Batch(MODELS["seqboat"], **{"max_rows": 1, name: 0})


def test_models_that_do_not_decode_are_refused():
    spec = seqboat(vocab_size=V, d_model=8, n_layers=1, d_state=2).model_dump(mode="json")
    classifier = parse_spec({**spec, "head": {"kind": "classifier", "n_classes": 5}}).build().eval()
    for model, message in (
        (nn.Linear(2, 2), "model=Linear does not decode step by step; use a language model"),
        (classifier, r"model=SequenceModel gives \(1, 5\) for one token"),
        (LooksAhead(), "model=LooksAhead does not decode tokens: it looks ahead; use a language model"),
    ):
        with pytest.raises(ValueError, match=message):
            Batch(model, 1)


def test_a_model_in_training_mode_is_refused():
    batch = Batch(build(seqboat, d_state=2).train(), 1)
    batch.add([1])
    with pytest.raises(ValueError, match=r"the model is in training mode.*eval\(\)"):
        batch.step()


def test_states_outlive_inference_mode():
    with torch.inference_mode():
        batch = Batch(MODELS["seqboat"], 2)
        stream = batch.add([1, 2], Sampling(n_tokens=6, temperature=0))
        batch.step()
    list(batch)
    assert stream.tokens == alone(MODELS["seqboat"], [1, 2], stream.settings)
