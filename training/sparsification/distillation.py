"""Distillation: a sparsified model learns from the dense one that it came from what to skip."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.utils.output_capturing import capture_outputs

from sma.architectures.specs.fields import Coefficient, Count, Positive
from sma.modules.routers.ramp import set_progress
from sma.recording import record
from sma.routing import Router
from sma.spec.base import Fields
from sma.training.optimization.groups import parameter_groups
from sma.training.optimization.schedules import CosineSchedule
from sma.training.sparsification.distillation_checkpoint import DistillationCheckpoint, keeping

Inputs = Mapping[str, Tensor]
_CAPTURING = capture_outputs.__module__


class Distillation(Fields):
    """Settings of a distillation.

    Attributes:
        steps: of the optimizer.
        learning_rate: of the model's own weights, or of their adapters.
        router_learning_rate: of the routers.
        weights: what becomes of the model's own weights: `trained`, `frozen`, or adapted by `lora`, whose
            matrices are added to the weights in the end.
        lora_rank: of the adapters.
        hidden: weight of the difference of hidden states, after every layer.
        logits: weight of the divergence of the predictions, where a model makes any.
        task: weight of the model's own loss, where the batches have `labels`.
        clip: bound of the gradient's norm.
    """

    steps: Count = 1000
    learning_rate: Positive = 1e-4
    router_learning_rate: Positive = 1e-2
    weights: Literal["trained", "frozen", "lora"] = "trained"
    lora_rank: Count = 16
    hidden: Coefficient = 1.0
    logits: Coefficient = 1.0
    task: Coefficient = 0.0
    clip: Positive = 1.0


@dataclass(frozen=True)
class DistillationStep:
    """The losses of one step.

    Attributes:
        step: its number, from 1.
        losses: by name, with their weights.
        rates: the share of tokens that each routed part computed, by its name.
        seconds: since the first step began.
    """

    step: int
    losses: Mapping[str, float]
    rates: Mapping[str, float]
    seconds: float


def distill(
    student: Any,
    teacher: Any,
    batches: Iterable[Inputs],
    settings: Distillation,
    *,
    before_step: Callable[[float], None] = lambda progress: None,
    listener: Callable[[DistillationStep], None] = lambda step: None,
    checkpoint: DistillationCheckpoint | None = None,
) -> Any:
    """Train a sparsified model to do what the dense one does, while its budget moves to its rate.

    $$ L = \\lambda_h \\frac{1}{n} \\sum_{l} \\frac{\\lVert h_l - h_l' \\rVert^2}{\\lVert h_l' \\rVert^2}
         + \\lambda_p \\operatorname{KL}(p' \\Vert p) + \\lambda_t L_\\text{task} + L_\\text{routers} $$

    over real tokens and without dropout, with hidden states h after each of n layers and predictions p;
    primes are the teacher's.

    Args:
        student: as `sma.sparsify` returns it; trained in place.
        teacher: the dense model, of which nothing is changed.
        batches: one for every step: what both models are called with.
        settings: see `Distillation`.
        before_step: called with the share of the training that lies behind.
        listener: called after every step.
        checkpoint: is written from time to time, at the end, and where Ctrl-C or SIGTERM stops the
            distillation after a step. If its file exists, the distillation resumes from it, with the batches
            behind those that it has seen, and does what it would have done.

    Returns:
        The student in evaluation mode; what could be trained before can be trained again.

    Raises:
        ValueError: if there are fewer batches than steps, or a loss is not a number.
        RunError: if the checkpoint cannot be written, or is damaged.
        KeyboardInterrupt: after Ctrl-C; with a checkpoint, when it is written.
        Terminated: after SIGTERM, when the checkpoint is written.
    """
    trainable = [(parameter, parameter.requires_grad) for parameter in student.parameters()]
    model = _adapted(student, settings)
    optimizer, trained = _optimizer(model, settings)
    schedule = CosineSchedule()
    teacher = teacher.eval()
    _without_dropout(model)
    behind = 0 if checkpoint is None else checkpoint.load(model, optimizer)
    start = time.monotonic()
    with keeping(checkpoint, settings.steps, model, optimizer) as keep:
        for step, batch in zip(range(settings.steps), batches, strict=False):
            if step < behind:
                continue
            progress = step / settings.steps
            set_progress(model, progress)
            before_step(progress)
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] * schedule.factor(step, progress)
            with record(student) as recording:
                losses = _losses(model, teacher, batch, settings)
            losses |= {name: loss for name, loss in recording.losses.items() if loss.requires_grad}
            total = torch.stack(list(losses.values())).sum()
            if not total.isfinite():
                raise ValueError(f"the loss of step {step + 1} is {total.item()}; lower learning_rate")
            optimizer.zero_grad()
            total.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(trained, settings.clip)
            optimizer.step()
            rates = {name: rates[0] for name, rates in recording.activation_rates.items()}
            numbers = {name: loss.item() for name, loss in losses.items()}
            listener(DistillationStep(step + 1, numbers, rates, time.monotonic() - start))
            behind = step + 1
            keep(behind)
    if behind < settings.steps:
        raise ValueError(f"there are {behind} batches for {settings.steps} steps; give more, or set steps")
    set_progress(model, 1.0)
    before_step(1.0)
    if settings.weights == "lora":
        model = model.merge_and_unload()
    for each in (model, teacher):
        if isinstance(each, nn.Module):
            _capture_no_longer(each)
    for parameter, before in trainable:
        parameter.requires_grad_(before)
    return model.eval()


def _without_dropout(model: nn.Module) -> None:
    """Evaluation mode but for the routers: dropout would be noise against the teacher."""
    model.eval()
    for module in model.modules():
        if isinstance(module, Router):
            module.train()


def _capture_no_longer(model: nn.Module) -> None:
    """Take off the hooks by which transformers captured hidden states, which cannot be pickled.

    They come back by themselves when hidden states are asked for again.
    """
    for module in model.modules():
        hooks = module._forward_hooks
        for number in [n for n, hook in hooks.items() if getattr(hook, "__module__", "") == _CAPTURING]:
            del hooks[number]
        module.__dict__.pop("_output_capturing_hooks_installed", None)


def _adapted(student: Any, settings: Distillation) -> Any:
    """The model whose parameters with `requires_grad` are those to be trained."""
    if settings.weights != "lora":
        own = settings.weights == "trained"
        for parameter in student.parameters():
            parameter.requires_grad_(own)
    else:
        from peft import LoraConfig, get_peft_model

        names = list(_linear_maps(student))
        config = LoraConfig(r=settings.lora_rank, lora_alpha=settings.lora_rank, target_modules=names)
        student = get_peft_model(student, config)
    for parameter in _router_parameters(student):
        parameter.requires_grad_(True)
    return student


def _linear_maps(model: Any) -> Iterator[str]:
    """The whole names of the linear maps inside the layers of a model, routers apart."""
    routers = {part for each in model.modules() if isinstance(each, Router) for part in each.modules()}
    adapted = {
        module
        for name, module in model.base_model.named_modules()
        if any(part.isdigit() for part in name.split(".")) and isinstance(module, nn.Linear)
    } - routers
    yield from (name for name, module in model.named_modules() if module in adapted)


def _router_parameters(model: nn.Module) -> list[nn.Parameter]:
    routers = (module for module in model.modules() if isinstance(module, Router))
    return list({id(p): p for router in routers for p in router.parameters()}.values())


def _optimizer(model: nn.Module, settings: Distillation) -> tuple[torch.optim.AdamW, list[nn.Parameter]]:
    routers = {id(parameter) for parameter in _router_parameters(model)}
    groups: list[dict[str, Any]] = []
    for group in parameter_groups(model):
        own = [p for p in group["params"] if p.requires_grad and id(p) not in routers]
        groups.append({**group, "params": own, "lr": settings.learning_rate})
    of_routers = [p for p in model.parameters() if id(p) in routers and p.requires_grad]
    groups.append({"params": of_routers, "lr": settings.router_learning_rate, "weight_decay": 0.0})
    groups = [{**group, "initial_lr": group["lr"]} for group in groups if group["params"]]
    if not groups:
        raise ValueError(
            "nothing can be trained: the routers have no parameters; set weights to trained or lora"
        )
    return torch.optim.AdamW(groups, fused=True), [p for group in groups for p in group["params"]]


def _losses(model: Any, teacher: Any, batch: Inputs, settings: Distillation) -> dict[str, Tensor]:
    """The losses of a batch, but for the routers' own."""
    options = {"output_hidden_states": True, "use_cache": False}
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    labels = {"labels": batch["labels"]} if settings.task > 0 and "labels" in batch else {}
    with torch.no_grad():
        wanted = teacher(**inputs, **options)
    found = model(**inputs, **labels, **options)
    real = batch["attention_mask"].bool() if "attention_mask" in batch else batch["input_ids"] >= 0
    losses = {}
    if settings.hidden > 0:
        losses["hidden"] = settings.hidden * hidden_difference(
            found.hidden_states, wanted.hidden_states, real
        )
    if settings.logits > 0 and getattr(found, "logits", None) is not None:
        losses["logits"] = settings.logits * divergence(found.logits, wanted.logits, real)
    if labels:
        losses["task"] = settings.task * found.loss
    return losses


def hidden_difference(found: tuple[Tensor, ...], wanted: tuple[Tensor, ...], real: Tensor) -> Tensor:
    """The squared distance of hidden states by the square of the wanted ones, over layers and real tokens.

    Args:
        found: `(B, L, D)` before the first layer and after each.
        wanted: the same of another model.
        real: `(B, L)` bool.
    """
    each = [
        (mine[real] - theirs[real]).square().sum(-1) / theirs[real].square().sum(-1).clamp(min=1e-12)
        for mine, theirs in zip(found[1:], wanted[1:], strict=True)
    ]
    return torch.stack(each).mean()


def divergence(found: Tensor, wanted: Tensor, real: Tensor) -> Tensor:
    """The mean Kullback-Leibler divergence of predictions from wanted ones, in nats.

    Args:
        found: logits `(B, L, V)`, of which those of real tokens count, or `(B, C)` of whole rows.
        wanted: the same of the dense model.
        real: `(B, L)` bool.
    """
    if found.dim() == 3:
        found, wanted = found[real], wanted[real]
    logs = F.log_softmax(found.float(), -1), F.log_softmax(wanted.float(), -1)
    return F.kl_div(*logs, reduction="batchmean", log_target=True)
