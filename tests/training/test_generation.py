"""Generation against recomputing everything for every byte."""

from typing import Any

import pytest
import torch

from sma.architectures import SequenceModel, seqboat
from sma.training.generation import _before, choose, generate


@pytest.fixture(scope="module")
def model() -> SequenceModel:
    torch.manual_seed(0)
    spec = seqboat(vocab_size=256, d_model=16, n_layers=2, d_qk=4, window=3, d_state=2)
    return spec.build().to(torch.float64)  # type: ignore[return-value]


@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_equals_recomputation(model: SequenceModel, temperature: float) -> None:
    ours = list(generate(model, b"def ", n_tokens=12, temperature=temperature, seed=3))
    generator = torch.Generator().manual_seed(3)
    whole = [0, *b"def "]
    for _ in range(12):
        with torch.no_grad():
            scores = model.eval()(torch.tensor([whole]))[0, -1].float()
        byte = choose(scores, generator, temperature=temperature)
        if byte == 0:
            break
        whole.append(byte)
    assert ours == whole[5:]


def test_a_seed_repeats(model: SequenceModel) -> None:
    texts = [bytes(generate(model, b"", n_tokens=20, seed=seed)) for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]


def test_top_k_and_top_p_keep_the_most_probable() -> None:
    probability = torch.tensor([0.1, 0.5, 0.15, 0.25])
    drawn = {"top_k": set[int](), "top_p": set[int](), "both": set[int](), "all": set[int]()}
    generator = torch.Generator().manual_seed(0)
    for _ in range(200):
        drawn["top_k"].add(choose(probability.log(), generator, top_k=2))
        drawn["top_p"].add(choose(probability.log(), generator, top_p=0.76))
        drawn["both"].add(choose(probability.log(), generator, top_k=3, top_p=0.3))
        drawn["all"].add(choose(probability.log(), generator))
    assert drawn == {"top_k": {1, 3}, "top_p": {1, 2, 3}, "both": {1}, "all": {0, 1, 2, 3}}


def test_the_text_ends_before_the_first_stop_string(model: SequenceModel) -> None:
    whole = bytes(generate(model, b"def ", n_tokens=30, seed=3))
    first, second = whole[10:13], whole[4:6]
    stopped = bytes(generate(model, b"def ", n_tokens=30, seed=3, stop=[first, second, b"never there"]))
    assert stopped == whole[: min(whole.index(first), whole.index(second))]
    assert bytes(generate(model, b"def ", n_tokens=30, seed=3, stop=[whole + b"!"])) == whole


@pytest.mark.parametrize(("text", "expected"), [(b"aab", b""), (b"xaaab!", b"xa"), (b"aaaa", b"aaaa")])
def test_stop_strings_that_overlap_themselves(text: bytes, expected: bytes) -> None:
    assert bytes(_before([b"aab", b"ab!"], iter(text))) == expected


def test_only_what_may_begin_a_stop_string_waits() -> None:
    text = iter(b"xaay")
    out = _before([b"aab"], text)
    assert next(out) == ord("x")
    assert bytes(text) == b"aay"  # nothing more was read


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": -1.0}, "temperature must be a finite number of at least 0, got -1"),
        ({"top_k": 0}, "top_k must be at least 1, got 0"),
        ({"n_tokens": -1}, "n_tokens must be at least 0, got -1"),
        ({"temperature": float("nan")}, "temperature must be a finite number"),
        ({"seed": 2**64}, "seed must fit in 64 bits"),
        ({"stop": [b"end", b""]}, "stop must not contain an empty string"),
        ({"top_p": 1.5}, r"top_p must be in \(0, 1\], got 1.5"),
    ],
)
def test_errors(model: SequenceModel, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        generate(model, b"", **{"n_tokens": 1, **options})  # type: ignore[arg-type]
