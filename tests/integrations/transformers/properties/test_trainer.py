"""Models of this project under transformers' Trainer."""

import pytest
import torch
from transformers import Trainer, TrainingArguments

import sma
from sma.modules.routers.budget import ActivationBudget
from sma.transformers import (
    ProgressCallback,
    SMAConfig,
    SMAForCausalLM,
    SMAForSequenceClassification,
    SMAForTokenClassification,
)


def texts(n=12, length=10):
    """Rows of bytes of several lengths, padded on the right; padding is not scored."""
    generator = torch.Generator().manual_seed(0)
    rows = []
    for i in range(n):
        tokens = torch.randint(97, 101, (length,), generator=generator)
        real = torch.arange(length) < 4 + i % 7
        rows.append({"input_ids": tokens, "attention_mask": real.long(), "labels": tokens.where(real, -100)})
    return rows


def arguments(folder, **options):
    defaults = {
        "output_dir": str(folder),
        "max_steps": 4,
        "per_device_train_batch_size": 4,
        "learning_rate": 1e-2,
        "lr_scheduler_type": "constant",
        "report_to": [],
        "use_cpu": True,
        "disable_tqdm": True,
        "save_strategy": "no",
        "logging_steps": 1,
        "seed": 3,
    }
    return TrainingArguments(**defaults | options)


def trained(model, rows, folder, *, resume=False, **options):
    trainer = Trainer(model, arguments(folder, **options), train_dataset=rows, eval_dataset=rows[:4])
    trainer.train(resume_from_checkpoint=resume)
    return trainer


def weights(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


@pytest.fixture
def build(spec):
    def new(cls=SMAForCausalLM, dropout=0.0, **head):
        torch.manual_seed(0)
        config = SMAConfig(spec=spec)
        for block in config.spec["blocks"]:
            block["dropout"] = dropout
        return cls(config.with_head(**head) if head else config)

    return new


def test_a_step_is_that_of_this_project(build, tmp_path):
    """Labels that are shifted, ignored targets, and the routers' losses, against plain torch."""
    rows = texts(4)
    trainer = trained(build(), rows, tmp_path, max_steps=1, optim="sgd", max_grad_norm=1e9, learning_rate=0.5)
    model = build().model.train()
    batch = {name: torch.stack([row[name] for row in rows]) for name in rows[0]}
    with sma.record() as recording:
        logits = model(batch["input_ids"], batch["attention_mask"].bool())
    targets = batch["labels"][:, 1:]
    loss = torch.nn.functional.cross_entropy(
        logits[:, :-1].flatten(0, 1), targets.flatten(), ignore_index=-100
    )
    (auxiliary,) = recording.losses.values()
    assert auxiliary > 0
    (loss + auxiliary).backward()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter -= 0.5 * parameter.grad
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(trainer.model.model.state_dict()[name], tensor)
    torch.testing.assert_close(
        trainer.state.log_history[0]["loss"], (loss + auxiliary).item(), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("kind", ["tokens", "elements", "rows"])
def test_accumulated_micro_batches_are_one_batch(build, tmp_path, kind):
    """Up to the routers' losses, whose means are over the elements of a micro-batch: here there are none."""
    head = {"elements": "node_classifier", "rows": "classifier"}
    classes = {"elements": SMAForTokenClassification, "rows": SMAForSequenceClassification}
    rows = texts(8)
    for i, row in enumerate(rows):
        if kind == "elements":
            row["labels"] = (row["labels"] % 3).where(row["labels"] >= 0, -100)
        elif kind == "rows":
            row["labels"] = torch.tensor(i % 3)
    results = []
    for size, accumulation in ((8, 1), (2, 4)):
        model = build() if kind == "tokens" else build(classes[kind], kind=head[kind], n_classes=3)
        for part in model.modules():
            if isinstance(part, ActivationBudget):
                part.coefficient = 0.0
        options = {"per_device_train_batch_size": size, "gradient_accumulation_steps": accumulation}
        trainer = trained(model, rows, tmp_path, max_steps=2, optim="sgd", max_grad_norm=1e9, **options)
        results.append((weights(model), [entry["loss"] for entry in trainer.state.log_history[:2]]))
    (first, losses), (second, others) = results
    torch.testing.assert_close(losses, others, rtol=1e-5, atol=1e-6)
    for name, tensor in first.items():
        torch.testing.assert_close(tensor, second[name])


def test_the_routers_losses_are_shared_out_over_micro_batches(build, tmp_path):
    """A loss that is the same in every micro-batch counts once in a step, not once per micro-batch."""
    rows = texts(1) * 8
    losses = []
    for size, accumulation in ((8, 1), (2, 4)):
        options = {"per_device_train_batch_size": size, "gradient_accumulation_steps": accumulation}
        trainer = trained(build(), rows, tmp_path, max_steps=1, **options)
        losses.append(trainer.state.log_history[0]["loss"])
    torch.testing.assert_close(*losses, rtol=1e-5, atol=1e-6)


def test_training_learns_and_evaluates_without_the_routers_losses(build, tmp_path):
    rows = texts()
    model = build()
    trainer = trained(model, rows, tmp_path, max_steps=40, learning_rate=3e-2)
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5])
    measured = trainer.evaluate()
    batch = {name: torch.stack([row[name] for row in rows[:4]]) for name in rows[0]}
    with torch.no_grad():
        expected = model.eval()(**batch).loss
    torch.testing.assert_close(measured["eval_loss"], float(expected))
    assert trainer.predict(rows[:3]).predictions.shape == (3, 10, 256)


def test_a_resumed_training_ends_at_the_same_weights(build, tmp_path):
    """With dropout, whose random numbers the checkpoint holds; in the folder is a whole model."""
    whole = trained(build(dropout=0.2), texts(), tmp_path / "whole", max_steps=4).model
    options = {"save_strategy": "steps", "save_steps": 2}
    trained(build(dropout=0.2), texts(), tmp_path / "parts", max_steps=4, **options)
    checkpoint = tmp_path / "parts" / "checkpoint-2"
    assert type(SMAForCausalLM.from_pretrained(checkpoint)) is SMAForCausalLM
    again = trained(
        build(dropout=0.2), texts(), tmp_path / "parts", max_steps=4, resume=str(checkpoint), **options
    ).model
    assert weights(whole).keys() == weights(again).keys()
    for name, tensor in weights(whole).items():
        assert torch.equal(tensor, weights(again)[name]), name


def test_gradient_checkpointing_changes_nothing(build, tmp_path):
    plain = trained(build(), texts(), tmp_path, max_steps=2).model
    model = build()
    recomputed = trained(model, texts(), tmp_path, max_steps=2, activation_checkpointing=True).model
    assert model.model.activation_checkpointing
    for name, tensor in weights(plain).items():
        assert torch.equal(tensor, weights(recomputed)[name]), name


def test_ramps_move_with_the_training(build, tmp_path):
    model = build()
    (first, *_) = (part for part in model.modules() if isinstance(part, ActivationBudget))
    values = model.config.spec
    for block in values["blocks"]:
        block["branches"][1]["router"]["rate"] = {"start": 1.0, "end": 0.2, "over": 1.0}
    model = SMAForCausalLM(SMAConfig(spec=values))
    (first, *_) = (part for part in model.modules() if isinstance(part, ActivationBudget))
    seen = []
    model.register_forward_pre_hook(lambda *call: seen.append(round(float(first.rates[0]()), 3)))
    trainer = Trainer(model, arguments(tmp_path), train_dataset=texts(), callbacks=[ProgressCallback()])
    trainer.train()
    assert seen == [1.0, 0.8, 0.6, 0.4]
