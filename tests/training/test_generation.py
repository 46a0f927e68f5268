"""Generation against recomputing everything for every byte."""

import copy
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch import nn
from typer.testing import CliRunner

import sma.spec.registry
from sma import PerElement, register
from sma.architectures import SequenceModel, parse_spec, save_model, seqboat
from sma.architectures.specs.families import HeadSpec
from sma.decoding import Sampling, choose
from sma.training.cli.app import app
from sma.training.generation import _before, generate


@pytest.fixture(scope="module")
def model() -> SequenceModel:
    torch.manual_seed(0)
    spec = seqboat(vocab_size=256, d_model=16, n_layers=2, d_qk=4, window=3, d_state=2)
    return spec.build().to(torch.float64)  # type: ignore[return-value]


class EveryByte(HeadSpec):
    """Next-token scores of another package."""

    kind: Literal["every_byte"] = "every_byte"
    n_classes: int = 256

    @property
    def needs_causal(self) -> bool:
        return True

    def build(self, d_model: int, embedding: nn.Module) -> PerElement:
        return PerElement(nn.Linear(d_model, self.n_classes))


@pytest.fixture
def other_head(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sma.spec.registry, "_registered", dict(sma.spec.registry._registered))
    register(EveryByte)


def with_head(head: dict[str, Any], **options: Any) -> nn.Module:
    spec = seqboat(vocab_size=256, d_model=8, n_layers=1, d_state=2, window=4, **options)
    return parse_spec({**spec.model_dump(mode="json"), "head": head}).build()  # type: ignore[attr-defined]


def test_a_head_of_another_package_writes(other_head: None, tmp_path: Path) -> None:
    save_model(with_head({"kind": "every_byte"}), tmp_path / "model")  # type: ignore[arg-type]
    result = CliRunner().invoke(app, ["generate", str(tmp_path / "model"), "--prompt", "a", "--tokens", "2"])
    assert result.exit_code == 0, result.output
    assert result.stdout_bytes.startswith(b"a")


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (
            {"kind": "every_byte", "n_classes": 5},
            r"scores 5 tokens instead of 256, .* so it cannot write",
        ),
        ({"kind": "classifier", "n_classes": 256}, "head classifier does not predict the next element"),
    ],
)
def test_other_models_cannot_write(other_head: None, head: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        generate(with_head(head), b"", n_tokens=1)


def test_a_model_that_cannot_decode_cannot_write(
    model: SequenceModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def init_state(*arguments: Any, **options: Any) -> None:
        raise NotImplementedError("it looks ahead")

    monkeypatch.setattr(type(model.blocks[0]), "init_state", init_state)
    with pytest.raises(ValueError, match="does not decode tokens: it looks ahead; use a language model"):
        generate(model, b"", n_tokens=1)
    with pytest.raises(ValueError, match="the model is a Linear, not a SequenceModel"):
        generate(nn.Linear(2, 2), b"", n_tokens=1)


@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_equals_recomputation(model: SequenceModel, temperature: float) -> None:
    ours = list(generate(model, b"def ", n_tokens=12, temperature=temperature, seed=3))
    generator = torch.Generator().manual_seed(3)
    whole = [0, *b"def "]
    for _ in range(12):
        with torch.no_grad():
            scores = model.eval()(torch.tensor([whole]))[0, -1]
        byte = choose(scores[None], [Sampling(temperature=temperature)], [generator])[0]
        if byte == 0:
            break
        whole.append(byte)
    assert ours == whole[5:]


def test_a_seed_repeats(model: SequenceModel) -> None:
    texts = [bytes(generate(model, b"", n_tokens=20, seed=seed)) for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]


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


def test_scores_that_are_not_finite_are_an_error(model: SequenceModel) -> None:
    broken = copy.deepcopy(model)
    broken.embedding.weight.data[ord("x")] = float("nan")
    with pytest.raises(ValueError, match=r"scores a token by nan, .* use other weights"):
        list(generate(broken, b"x", n_tokens=1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": -1.0}, "temperature must be a finite number of at least 0, got -1"),
        ({"top_k": 0}, "top_k must be at least 1, got 0"),
        ({"n_tokens": -1}, "n_tokens must be at least 0, got -1"),
        ({"temperature": float("nan")}, "temperature must be a finite number"),
        ({"seed": 2**63}, r"seed must be at least 0 and less than 2\*\*63"),
        ({"seed": -1}, r"seed must be at least 0 .*, got -1"),
        ({"stop": [b"end", b""]}, "stop must not contain an empty string"),
        ({"top_p": 1.5}, r"top_p must be in \(0, 1\], got 1.5"),
    ],
)
def test_errors(model: SequenceModel, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        generate(model, b"", **{"n_tokens": 1, **options})  # type: ignore[arg-type]
