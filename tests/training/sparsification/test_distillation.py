"""Distillation: budgets are reached, what should not move does not, and losses are what they say."""

import copy
import pickle

import pytest
import torch
from torch.nn import functional as F
from transformers import BertConfig, BertForSequenceClassification, LlamaConfig, LlamaForCausalLM

import sma
from sma.training.sparsification.distillation import Distillation, distill, divergence, hidden_difference


def tiny():
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    return LlamaForCausalLM(LlamaConfig(**sizes, num_key_value_heads=2, vocab_size=30)).eval()


def batches(n, *, labels=False):
    generator = torch.Generator().manual_seed(1)
    for _ in range(n):
        ids = torch.randint(3, 30, (4, 10), generator=generator)
        mask = torch.ones_like(ids)
        mask[0, 6:] = 0
        batch = {"input_ids": ids, "attention_mask": mask}
        yield batch | {"labels": ids.masked_fill(mask == 0, -100)} if labels else batch


def moved(before, model):
    """The names of the parameters that a training moved."""
    own = model.state_dict()
    return {name for name, value in before.items() if not torch.equal(value, own[name])}


@pytest.mark.parametrize("parts", [("feed_forward", "attention"), ("layer",)])
def test_the_budget_is_reached(parts):
    teacher = tiny()
    student = sma.sparsify(copy.deepcopy(teacher), parts=parts, rate=0.5, coefficient=4.0)
    steps = []
    settings = Distillation(steps=80, router_learning_rate=0.05, learning_rate=1e-3)
    distill(student, teacher, batches(80), settings, listener=steps.append)
    first, last = steps[0].rates, steps[-1].rates
    assert set(first.values()) == {1.0}
    assert all(abs(rate - 0.5) < 0.25 for rate in last.values())
    assert [step.step for step in steps] == list(range(1, 81))
    assert not student.training
    before = copy.deepcopy(teacher.state_dict())
    assert moved(before, tiny()) == set()  # the teacher is what it was


@pytest.mark.parametrize("weights", ["trained", "frozen", "lora"])
def test_what_is_trained(weights):
    teacher = tiny()
    student = sma.sparsify(copy.deepcopy(teacher), parts=("feed_forward",), rate=0.3)
    before = copy.deepcopy(student.state_dict())
    settings = Distillation(steps=3, weights=weights, lora_rank=2)
    student = distill(student, teacher, batches(3), settings)
    assert all(parameter.requires_grad for parameter in student.parameters())
    assert type(student) is type(sma.sparsify(tiny()))
    changed = {name for name in moved(before, student) if "progress" not in name}
    routers = {name for name in changed if ".router." in name}
    assert {name.rpartition(".")[2] for name in routers} == {"weight", "bias"}
    if weights == "frozen":
        assert changed == routers
    else:
        assert any("q_proj" in name for name in changed)
        assert ("model.embed_tokens.weight" in changed) == (weights == "trained")


def test_adapters_are_inside_layers_only():
    """Maps of the same names outside of them, as a pooler's, stay as they are."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    teacher = BertForSequenceClassification(BertConfig(**sizes, vocab_size=30)).eval()
    student = sma.sparsify(copy.deepcopy(teacher))
    before = copy.deepcopy(student.state_dict())
    settings = Distillation(steps=3, weights="lora", lora_rank=2, learning_rate=1e-2)
    student = distill(student, teacher, batches(3), settings)
    changed = {name for name in moved(before, student) if ".router." not in name}
    assert all(name.startswith("bert.encoder.layer.") and name.endswith(".weight") for name in changed)
    assert len(changed) == 2 * 6  # four of the attention and two of the feed-forward, in each layer


def test_what_is_distilled_can_be_pickled():
    """And the teacher; hidden states are captured again when they are asked for."""
    teacher = tiny()
    student = distill(sma.sparsify(tiny()), teacher, batches(1), Distillation(steps=1))
    (batch,) = batches(1)
    for model in (student, teacher):
        again = pickle.loads(pickle.dumps(model))
        with torch.no_grad():
            found, wanted = (
                each(**batch, output_hidden_states=True).hidden_states for each in (again, model)
            )
        assert len(found) == 3
        assert all(torch.equal(mine, theirs) for mine, theirs in zip(found, wanted, strict=True))


def test_a_task_has_its_own_loss():
    teacher = tiny()
    found = {}
    for task in (0.0, 2.0):
        student = sma.sparsify(copy.deepcopy(teacher))
        steps = []
        distill(
            student, teacher, batches(1, labels=True), Distillation(steps=1, task=task), listener=steps.append
        )
        found[task] = steps[0].losses
    assert "task" not in found[0.0]
    (batch,) = batches(1, labels=True)
    with torch.no_grad():
        wanted = 2 * teacher(**batch).loss.item()
    assert found[2.0]["task"] == pytest.approx(wanted, rel=1e-5)
    assert found[2.0]["logits"] == pytest.approx(0.0, abs=1e-6)  # it starts as the teacher


def test_the_losses_are_those_of_real_tokens():
    torch.manual_seed(2)
    mine, theirs = (tuple(torch.randn(2, 3, 4) for _ in range(3)) for _ in range(2))
    real = torch.tensor([[True, True, False], [False, True, True]])
    total = [
        float((mine[layer][b, t] - theirs[layer][b, t]).norm() ** 2 / theirs[layer][b, t].norm() ** 2)
        for layer in (1, 2)
        for b, t in real.nonzero().tolist()
    ]
    assert hidden_difference(mine, theirs, real).item() == pytest.approx(sum(total) / len(total), rel=1e-5)
    p, q = F.softmax(theirs[0], -1), F.softmax(mine[0], -1)
    each = (p * (p / q).log()).sum(-1)
    assert divergence(mine[0], theirs[0], real).item() == pytest.approx(each[real].mean().item(), rel=1e-5)
    of_rows = divergence(mine[0][:, 0], theirs[0][:, 0], real)
    assert of_rows.item() == pytest.approx(each[:, 0].mean().item(), rel=1e-5)


def test_errors():
    teacher = tiny()
    with pytest.raises(ValueError, match="there are 2 batches for 5 steps"):
        distill(sma.sparsify(tiny()), teacher, batches(2), Distillation(steps=5))
    student = sma.sparsify(tiny(), router="always", rate=1.0)
    with pytest.raises(ValueError, match="nothing can be trained"):
        distill(student, teacher, batches(1), Distillation(steps=1, weights="frozen"))
    broken = copy.deepcopy(teacher)
    broken.model.norm.weight.data.fill_(float("nan"))
    with pytest.raises(ValueError, match="the loss of step 1 is nan; lower learning_rate"):
        distill(sma.sparsify(tiny()), broken, batches(1), Distillation(steps=1))
