"""A model made sparse from files: report, controls, and the saved folder."""

import json
import math
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    BertForSequenceClassification,
    BertForTokenClassification,
)

from sma.training.run.errors import RunError
from sma.training.sparsification import sparsify_run
from sma.training.sparsification.distillation import Distillation
from sma.training.sparsification.distillation_checkpoint import DistillationCheckpoint
from sma.training.sparsification.sparsify_measures import measure
from sma.training.sparsification.sparsify_run import load_dense, sparsify_model
from sma.transformers import SparsifySpec, routed_parts

from .conftest import write_bert, write_llama, write_sparsified

SETTINGS = Distillation(steps=30, router_learning_rate=0.05)
SIZES = {"batch_size": 4, "length": 12, "n_held_out": 8}


def test_a_causal_model(llama_folder, data, tmp_path):
    steps = []
    report = sparsify_model(
        str(llama_folder),
        [data],
        tmp_path / "out",
        spec=SparsifySpec(parts=("feed_forward", "attention"), coefficient=4.0),
        settings=SETTINGS,
        listener=lambda name, step: steps.append(name),
        **SIZES,
    )
    assert steps == ["learned"] * 30 + ["random"] * 30 + ["dropped"] * 30
    assert (report.n_held_out, report.n_wanted) == (6, 8)
    dense, learned, drawn, dropped = report.measures
    assert dense.operations == 1.0
    assert dense.quality["hidden difference"] == dense.quality["divergence in nats"] == 0.0
    assert learned.parts < learned.operations < dense.parts == dense.time == 1.0
    assert max(learned.operations, dropped.operations, drawn.operations) < 1
    assert set(dropped.rates.values()) == {0.0, 1.0}
    assert sum(learned.rates.values()) / 4 == pytest.approx(sum(drawn.rates.values()) / 4, abs=0.15)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "out" / "model")
    assert len(routed_parts(loaded)) == 4
    with torch.no_grad():
        assert loaded(torch.tensor([[3, 4, 5]])).logits.isfinite().all()
    values = json.loads((tmp_path / "out" / "report.json").read_text())
    assert [each["name"] for each in values["measures"]] == ["dense", "learned", "random", "dropped"]
    page = (tmp_path / "out" / "report.html").read_text()
    assert "skipping at random at the same rates" in page
    assert "model.layers.1.self_attn" in page


def test_an_encoder_whose_weights_are_frozen(bert_folder, data, tmp_path):
    """Controls without routers to train are not trained."""
    steps = []
    report = sparsify_model(
        str(bert_folder),
        [data],
        tmp_path / "out",
        spec=SparsifySpec(),
        settings=SETTINGS.model_copy(update={"weights": "frozen"}),
        controls=("random",),
        listener=lambda name, step: steps.append(name),
        **SIZES,
    )
    assert steps == ["learned"] * 30
    assert list(report.measures[0].quality) == ["hidden difference"]
    assert [each.name for each in report.measures] == ["dense", "learned", "random"]
    assert report.measures[2].operations < 1
    dense = AutoModel.from_pretrained(bert_folder)
    loaded = AutoModel.from_pretrained(tmp_path / "out" / "model")
    for name, value in dense.state_dict().items():
        if "attention" in name:
            assert torch.equal(loaded.state_dict()[name], value)


@pytest.mark.parametrize("kind", [BertForSequenceClassification, BertForTokenClassification])
def test_a_classifier(kind, bert_folder, data, tmp_path):
    """Its predictions, of rows or of tokens, are compared as well."""
    torch.manual_seed(0)
    kind(AutoConfig.from_pretrained(bert_folder)).save_pretrained(bert_folder)
    report = sparsify_model(
        str(bert_folder),
        [data],
        tmp_path / "out",
        spec=SparsifySpec(),
        settings=SETTINGS,
        controls=(),
        **SIZES,
    )
    dense, learned = report.measures
    assert dense.quality["divergence in nats"] == 0.0
    assert learned.quality["divergence in nats"] == pytest.approx(0, abs=0.1)


def test_what_was_stopped_resumes(llama_folder, data, tmp_path, monkeypatch):
    """In the middle of any model, with the same result; nothing that was made is made again."""
    always = partial(DistillationCheckpoint, seconds=0.0)
    monkeypatch.setattr(sparsify_run, "DistillationCheckpoint", always)
    options = {"spec": SparsifySpec(coefficient=4.0), "settings": SETTINGS.model_copy(update={"steps": 6})}
    steps = []

    def run(out, stop=None):
        steps.clear()

        def listener(name, step):
            steps.append((name, step.step))
            if (name, step.step) == stop:
                raise KeyboardInterrupt

        sparsify_model(str(llama_folder), [data], tmp_path / out, listener=listener, **options, **SIZES)

    def measures(out):
        values = json.loads((tmp_path / out / "report.json").read_text())
        return [{**each, "seconds": None, "time": None} for each in values["measures"]]

    run("whole")
    assert len(steps) == 18
    for stop in (("learned", 4), ("random", 2), ("dropped", 3)):
        with pytest.raises(KeyboardInterrupt):
            run("out", stop=stop)
    assert steps == [*(("random", i) for i in range(2, 7)), *(("dropped", i) for i in range(1, 4))]
    assert (tmp_path / "out" / "report.html").exists()
    with pytest.raises(ValueError, match=r"made otherwise: length \(12 there, 8 here\); resume without"):
        sparsify_model(str(llama_folder), [data], tmp_path / "out", **options, **SIZES | {"length": 8})
    run("out")
    assert steps == [("dropped", step) for step in range(3, 7)]
    assert measures("out") == measures("whole")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "model",
        "report.html",
        "report.json",
    ]
    with pytest.raises(ValueError, match="out exists already and is complete; name a new folder"):
        run("out")


def test_a_control_is_added(llama_folder, data, tmp_path):
    options = {"spec": SparsifySpec(), "settings": SETTINGS.model_copy(update={"steps": 2}), **SIZES}
    sparsify_model(str(llama_folder), [data], tmp_path / "out", controls=(), **options)
    report = sparsify_model(
        str(llama_folder), [data], tmp_path / "out", controls=("random", "random"), **options
    )
    assert [each.name for each in report.measures] == ["dense", "learned", "random"]
    (tmp_path / "out" / "report.json").write_text("{}")
    with pytest.raises(RunError, match=r"report\.json is damaged .KeyError.*remove the folder"):
        sparsify_model(str(llama_folder), [data], tmp_path / "out", **options)


def test_a_loss_of_the_task(llama_folder, bert_folder, data, tmp_path):
    """A causal model's labels are its tokens."""
    losses = []
    options = {"spec": SparsifySpec(), "controls": (), **SIZES}
    options["settings"] = SETTINGS.model_copy(update={"steps": 1, "task": 2.0})
    listener = lambda name, step: losses.append(step.losses)  # noqa: E731
    sparsify_model(str(llama_folder), [data], tmp_path / "out", listener=listener, **options)
    assert losses[0]["task"] == pytest.approx(2 * math.log(18), rel=0.1)
    with pytest.raises(ValueError, match=r"task=2\.0 is the weight of a loss that needs labels.*set task=0"):
        sparsify_model(str(bert_folder), [data], tmp_path / "bert_out", **options)


def test_random_skipping_has_the_ramp_of_the_model(llama_folder, data, tmp_path, monkeypatch):
    found = []

    def listener(name, step):
        found.append((name, step.rates))

    options = {"settings": SETTINGS.model_copy(update={"steps": 4}), "controls": ("random",), **SIZES}
    monkeypatch.setattr(sparsify_run, "measure", partial(_measured, rates=0.0))
    sparsify_model(
        str(llama_folder), [data], tmp_path / "out", spec=SparsifySpec(ramp=1.0), listener=listener, **options
    )
    drawn = [sum(rates.values()) / len(rates) for name, rates in found if name == "random"]
    assert drawn == pytest.approx([1.0, 0.75, 0.5, 0.25], abs=0.2)


def _measured(name, model, dense, batches, tokenizer, *, rates):
    """As if all parts had learned one rate."""
    found = measure(name, model, dense, batches, tokenizer)
    return replace(found, rates=dict.fromkeys(found.rates, rates))


@pytest.mark.parametrize("write", [write_llama, write_bert])
def test_a_folder_without_a_tokenizer_is_named(write, tmp_path):
    """transformers makes one for some classes, which knows special tokens alone."""
    folder = write(tmp_path / "dense")
    for path in folder.glob("tokenizer*"):
        path.unlink()
    with pytest.raises(
        ValueError, match=r"dense has no tokenizer: save one there \(tokenizer\.save_pretrained\)"
    ):
        load_dense(str(folder))


def test_what_names_no_model_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    for name, message in (("file", "file is a file; give a folder"), ("nothere", "there is no folder")):
        with pytest.raises(ValueError, match=message):
            load_dense(str(tmp_path / name))


def test_what_is_sparsified_already_is_named(bert_folder, data, tmp_path):
    folder = write_sparsified(tmp_path / "sparse", bert_folder, data)
    for name in (folder, folder / "model"):
        with pytest.raises(ValueError, match="is sparsified already; name the dense model"):
            load_dense(str(name))


def test_errors(llama_folder, data, tmp_path, monkeypatch):
    options = {"spec": SparsifySpec(), "settings": SETTINGS}
    with pytest.raises(ValueError, match="there is no control 'never'; use random or dropped"):
        sparsify_model(str(llama_folder), [data], tmp_path / "out", controls=("never",), **options)
    with pytest.raises(ValueError, match="exists already; name a new folder"):
        sparsify_model(str(llama_folder), [data], tmp_path, **options)
    config = json.loads((llama_folder / "config.json").read_text())
    (llama_folder / "config.json").write_text(json.dumps(config | {"architectures": ["MyLlama"]}))
    with pytest.raises(ValueError, match="says of its class MyLlama"):
        sparsify_model(str(llama_folder), [data], tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()
    monkeypatch.setattr(sparsify_run, "load_dense", lambda name: pytest.fail("it is too late"))
    with pytest.raises(RunError, match=r"cannot write /proc/out .*; name another folder by --out"):
        sparsify_model(str(llama_folder), [data], Path("/proc/out"), **options)
