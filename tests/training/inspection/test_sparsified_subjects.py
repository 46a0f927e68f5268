"""Inspections of what `sma sparsify` writes, against the saved model called by itself."""

import copy
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer

import sma
from sma.training import Inspection
from sma.training.inspection.inspecting import inspect
from sma.training.sparsification.token_texts import read_token_texts
from sma.transformers import routed_parts

from ..sparsification.conftest import text, write_bert, write_llama, write_sparsified
from .conftest import Stubborn

BOTH = ("feed_forward", "attention")
NUMBERS = [1, 4]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Dense models, a text, and what became of them."""
    root = tmp_path_factory.mktemp("sparsified")
    (root / "text.txt").write_text(text(120))
    llama, bert = write_llama(root / "llama"), write_bert(root / "bert")
    data = root / "text.txt"
    for name, dense, spec in (
        ("llama parts", llama, {"parts": BOTH}),
        ("llama unseen", llama, {"parts": BOTH, "skipped": "unseen"}),
        ("llama layers", llama, {"parts": ("layer",)}),
        ("bert parts", bert, {"parts": BOTH}),
    ):
        write_sparsified(root / name, dense, data, **spec)
    write_sparsified(root / "other seed", llama, data, seed=1, parts=BOTH)
    return root


def losses(root: Path, model: Any, tokens: Tensor) -> list[float]:
    """Of every token: bits of the next one, or the distance from the dense model."""
    with torch.no_grad():
        found = model(tokens, output_hidden_states=True)
        if "logits" in found:
            logs = found.logits[0].log_softmax(-1)
            return [-float(logs[i, token]) / math.log(2) for i, token in enumerate(tokens[0, 1:].tolist())]
        wanted = AutoModel.from_pretrained(root / "bert")(tokens).last_hidden_state[0]
    pairs = zip(found.last_hidden_state[0], wanted, strict=True)
    return [100 * float((a - b).norm() ** 2 / b.norm() ** 2) for a, b in pairs]


@pytest.mark.parametrize("name", ["llama parts", "llama unseen", "llama layers", "bert parts"])
def test_decisions_losses_and_flips(root: Path, name: str) -> None:
    found = inspect(root / name, n_rows=3, examples=NUMBERS, n_flips=4)
    causal = name.startswith("llama")
    auto = AutoModelForCausalLM if causal else AutoModel
    model = auto.from_pretrained(root / name / "model").eval()
    tokenizer = AutoTokenizer.from_pretrained(root / name / "model")
    held_out = read_token_texts([root / "text.txt"], tokenizer, length=12, causal=causal).held_out
    assert [column.name for column in found.columns] == list(routed_parts(model))
    turned = set()
    for number, example in zip(NUMBERS, found.examples, strict=True):
        tokens = torch.tensor([held_out[number]])
        assert "".join(example.texts) == tokenizer.decode(held_out[number])
        with sma.record(model) as recording:
            before = losses(root, model, tokens)
        for active, confidence, call in zip(
            example.active, example.confidence, recording.layers, strict=True
        ):
            assert active == "".join(str(int(each)) for each in call.routing.active.flatten())
            assert active == "".join(str(int(each > 0.5)) for each in confidence)
            assert len(set(confidence)) > 2  # not those of the recording, which are 0 or 1
        assert example.loss is not None
        scored = example.loss[:-1] if causal else example.loss
        assert scored == pytest.approx(before, abs=2e-3)
        assert (example.loss[-1] is None) == causal
        assert example.row_loss == pytest.approx(sum(before), abs=1e-2)
        for flip in example.flips:
            other = copy.deepcopy(model)
            layer = other.get_submodule(found.columns[flip.column].layer)
            certain = layer.router.router  # whose decisions count in full
            certain.router = Stubborn(certain.router, flip.position)
            change = sum(losses(root, other, tokens)) - sum(before)
            assert flip.gain == pytest.approx(change if flip.was_active else -change, abs=1e-2, rel=1e-3)
            turned.add((flip.column, flip.was_active, abs(flip.gain) > 0.02))
    assert {active for _, active, changed in turned if changed} == {True, False}
    assert {column for column, _, changed in turned if changed} == set(range(len(found.columns)))


def test_what_is_measured_and_what_is_left_out(root: Path) -> None:
    found = inspect(root / "llama parts", n_rows=50, n_flips=2)
    n = found.n_elements
    assert found.n_rows == 6 == max(example.number for example in found.examples) + 1
    assert sum(group.n for group in found.positions) == sum(group.n for group in found.roles) == n
    assert sum(group.n for group in found.losses) == n - found.n_rows
    assert all(group.name.endswith(" bits") for group in found.losses)
    assert [group.name for group in found.roles] == ["start of a word"]
    assert (found.training.steps, found.spans, found.needs, found.stability) == ([], [], [], [])
    assert found.left_out.startswith("Left out: activation over training")
    bert = inspect(root / "bert parts", n_rows=2, examples=[0], n_flips=2)
    assert (bert.loss_unit, bert.loss_place) == ("hundredths", "at")
    assert bert.losses[0].name.endswith(" hundredths")


def test_seeds_are_compared(root: Path) -> None:
    paths = [root / "llama parts", root / "other seed"]
    found = inspect(paths, n_rows=5, examples=[0], n_flips=2)
    assert [each.rates[0] for each in found.stability] == found.rates
    assert inspect(paths[1], n_rows=5, examples=[0], n_flips=2).rates == [e.rates[1] for e in found.stability]


def altered(root: Path, tmp_path: Path, **values: Any) -> Path:
    """The folder of the encoder with another report."""
    (tmp_path / "model").symlink_to(root / "bert parts" / "model")
    report = json.loads((root / "bert parts" / "report.json").read_text())
    (tmp_path / "report.json").write_text(json.dumps(report | values))
    return tmp_path


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"model": "/nowhere/bert"}, "dense model /nowhere/bert, which cannot be loaded"),
        ({"data": ["/nowhere/text.txt"]}, "was distilled on /nowhere/text.txt, which is not there"),
        ({"data_hash": "0"}, "text.txt are not those that .* was distilled on"),
    ],
)
def test_what_is_not_there_any_more(root: Path, tmp_path: Path, values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        inspect(altered(root, tmp_path, **values))


@pytest.mark.parametrize(
    ("names", "options", "message"),
    [
        (["llama parts", "llama layers"], {}, "differ in their spec"),
        (["llama parts", "bert parts"], {}, "differ in their dense model"),
        (["llama parts", "llama"], {}, "was written by sma sparsify and .*llama was not"),
        (["llama parts"], {"split": "validation"}, "split=validation and weights=best are of runs"),
        (["llama parts"], {"weights": "last"}, "has one model and held-out rows alone"),
        (
            ["llama parts"],
            {"examples": [99]},
            "example 99, but the test split of held-out rows of .* has 6 rows",
        ),
        (["llama"], {}, "is not the folder of a run .*; nor did sma sparsify write it .*report.json beside"),
    ],
)
def test_bad_input(root: Path, names: list[str], options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        inspect([root / name for name in names], **options)


def test_an_inspection_is_the_same_again(root: Path) -> None:
    first, second = (inspect(root / "llama parts", n_rows=2, examples=[0], n_flips=2) for _ in range(2))
    assert isinstance(first, Inspection)
    assert first.json() == second.json()
