"""Features of torch for any module, tried with a model; docs/torch.md has the table of these checks."""

import copy
import io
import pickle
import re
import warnings
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, jacrev, jvp, vmap
from torch.nn.utils import parametrizations, prune
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import sma
from sma.architectures import load_model, save_model, seqboat
from sma.modules import GAU, LatentConfigurator

PAGE = Path(__file__).parents[2] / "docs" / "torch.md"
TOKENS = torch.randint(9, (2, 12), generator=torch.Generator().manual_seed(0))
ROWS = {}
"""The rows of the table: of each feature whether it works, a remark, and the check."""


def row(feature, verdict, remark):
    def keep(check):
        assert feature not in ROWS
        ROWS[feature] = (verdict, remark, check)
        return check

    return keep


def build(**options):
    torch.manual_seed(0)
    return seqboat(vocab_size=9, d_model=8, n_layers=1, window=4, **options).build().eval()


def same(first, second, **tolerance):
    torch.testing.assert_close(first(TOKENS), second(TOKENS), **tolerance)


def linears(model):
    found = [module for module in model.modules() if isinstance(module, nn.Linear)]
    assert found
    return found


def saved(model, folder):
    save_model(model, folder)
    return load_model(folder)


def has_gradients(model):
    model(TOKENS).square().mean().backward()
    return all(parameter.grad is not None for parameter in model.parameters())


@row("`state_dict`, `load_state_dict`", "works", "strict; a tied head has no weight of its own")
def state_dict(model, folder):
    other = seqboat(vocab_size=9, d_model=8, n_layers=1, window=4).build().eval()
    other.load_state_dict(model.state_dict())
    same(other, model)


@row(
    "`copy.deepcopy`, `pickle`, `torch.save` of a whole model",
    "works",
    "tied weights stay tied",
)
def copies(model, folder):
    buffer = io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    loaded = torch.load(buffer, weights_only=False)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model)), loaded):
        same(other, model)
        with torch.no_grad():
            other.embedding.weight.mul_(2)
        assert other(TOKENS).allclose(functional_call(other, dict(other.named_parameters()), (TOKENS,)))
        assert not other(TOKENS).allclose(model(TOKENS))


@row('`with torch.device("meta")`, then `to_empty` and `load_state_dict`', "works", "or `assign=True`")
def meta(model, folder):
    for empty in (True, False):
        with torch.device("meta"):
            other = build()
        other = other.to_empty(device="cpu") if empty else other
        other.load_state_dict(model.state_dict(), assign=not empty)
        same(other, model)


@row(
    "`torch.compile`, then `save_model`",
    "works",
    "saved as the model that was compiled",
)
def compiled(model, folder):
    same(saved(torch.compile(model), folder), model)
    model.compile()
    same(saved(model, folder), build())


@row("`weight_norm`, `spectral_norm`, other parametrizations", "works", "of every linear layer")
def parametrized(model, folder):
    for norm in (parametrizations.weight_norm, nn.utils.weight_norm, parametrizations.spectral_norm):
        other = copy.deepcopy(model)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            for layer in linears(other):
                norm(layer)
        if norm is not parametrizations.spectral_norm:
            same(other, model)
        assert has_gradients(other)


@row(
    "`save_model` with a parametrization",
    "refused",
    "the message names the part and the call that removes it",
)
def parametrized_saved(model, folder):
    layer = linears(model)[0]
    parametrizations.weight_norm(layer)
    with pytest.raises(
        ValueError, match=r"call torch\.nn\.utils\.parametrize\.remove_parametrizations\(model"
    ):
        save_model(model, folder)
    nn.utils.parametrize.remove_parametrizations(layer, "weight")
    same(saved(model, folder), model)


@row("`torch.nn.utils.prune`", "works", "of every linear layer")
def pruned(model, folder):
    for layer in linears(model):
        prune.l1_unstructured(layer, "weight", amount=0.5)
    assert has_gradients(model)
    assert all((layer.weight == 0).sum() == layer.weight.numel() // 2 for layer in linears(model))


@row("`save_model` of a pruned model", "refused", "until `prune.remove`, which the message names")
def pruned_saved(model, folder):
    layer = linears(model)[0]
    prune.l1_unstructured(layer, "weight", amount=0.5)
    with pytest.raises(ValueError, match=r"call torch\.nn\.utils\.prune\.remove\(model"):
        save_model(model, folder)
    prune.remove(layer, "weight")
    same(saved(model, folder), model)


@row("`AveragedModel`, also of exponential means", "works", "save its `.module`; in a run: `average: 0.99`")
def averaged(model, folder):
    for function in (None, get_ema_multi_avg_fn(0.5)):
        mean = AveragedModel(model, multi_avg_fn=function)
        mean.update_parameters(model)
        moved = copy.deepcopy(model)
        with torch.no_grad():
            moved.embedding.weight.add_(2)
        mean.update_parameters(moved)
        torch.testing.assert_close(mean.module.embedding.weight, model.embedding.weight + 1)
        same(saved(mean.module, folder), mean)


@row("`torch.func.functional_call`", "works", "with the parameters of another model, too")
def functional(model, folder):
    other = seqboat(vocab_size=9, d_model=8, n_layers=1, window=4).build().eval()
    result = functional_call(model, dict(other.named_parameters()), (TOKENS,))
    torch.testing.assert_close(result, other(TOKENS))


def loss_of(model):
    parameters = {name: parameter.detach() for name, parameter in model.named_parameters()}
    return parameters, lambda p, x: functional_call(model, p, (x,)).square().mean()


@row("`torch.func.grad`, `vjp`, `jvp`, `jacrev`", "works", "and gradients of gradients")
def transforms(model, folder):
    parameters, loss = loss_of(model)
    has_gradients(model)
    expected = {name: parameter.grad for name, parameter in model.named_parameters()}
    for found in (grad(loss)(parameters, TOKENS), jacrev(loss)(parameters, TOKENS)):
        torch.testing.assert_close(found, expected)
    _, along = jvp(lambda p: loss(p, TOKENS), (parameters,), (expected,))
    torch.testing.assert_close(along, sum(gradient.square().sum() for gradient in expected.values()))
    twice = grad(lambda p: sum(g.square().sum() for g in grad(loss)(p, TOKENS).values()))(parameters)
    assert all(gradient.isfinite().all() for gradient in twice.values())


@row("`torch.func.vmap` of a packed or padded compaction", "refused", "shapes depend on the data")
def mapped(model, folder):
    parameters, loss = loss_of(model)
    with pytest.raises(
        ValueError, match=r"^\w+ makes shapes that depend on the data, which torch\.func\.vmap"
    ):
        vmap(grad(loss), (None, 0))(parameters, TOKENS[:, None])


@row("`torch.func.vmap` with `CapacityCompaction`", "works", "per-sample gradients, too")
def mapped_capacity(model, folder):
    layer = sma.SMA(
        LatentConfigurator(8, n_modules=1), [GAU(8, window=4)], compaction=sma.CapacityCompaction(1.0)
    )
    x = torch.randn(3, 1, 10, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(vmap(layer)(x), torch.stack([layer(one) for one in x]))
    parameters, loss = loss_of(layer)
    found = vmap(grad(loss), (None, 0))(parameters, x)
    expected = [grad(loss)(parameters, one) for one in x]
    torch.testing.assert_close(found, {name: torch.stack([e[name] for e in expected]) for name in parameters})


@row("dynamic quantisation of linear layers", "works", "in 8 bits, decoding included")
def quantised(model, folder):
    other = quantise(model)
    expected = model(TOKENS)
    assert 0 < (other(TOKENS) - expected).abs().max() < 0.05 * expected.abs().max()
    with torch.no_grad():
        scores, state = other.prefill(TOKENS[:, :-1])
        other.step(TOKENS[:, -1], state)
    torch.testing.assert_close(scores, other(TOKENS)[:, :-1], atol=0.05, rtol=0.05)


@row("`save_model` of a quantised model", "refused", "save it before; quantise after loading")
def quantised_saved(model, folder):
    with pytest.raises(ValueError, match=r"instead of a tensor; save the model before it is quantised"):
        save_model(quantise(model), folder)


def quantise(model):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", UserWarning)
        return torch.ao.quantization.quantize_dynamic(model, {nn.Linear}, dtype=torch.qint8)


@row("`half`, `bfloat16`, `double`, `torch.autocast`", "works", "recurrences stay in float32 at least")
def precisions(model, folder):
    expected = model(TOKENS)
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        found = copy.deepcopy(model).to(dtype)(TOKENS)
        assert found.dtype == dtype
        torch.testing.assert_close(found.float(), expected, atol=0.1, rtol=0.1)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(model(TOKENS).float(), expected, atol=0.1, rtol=0.1)


@row("input of a precision that the module does not have", "refused", "outside of autocast")
def wrong_precision(model, folder):
    block = model.blocks[0]
    with pytest.raises(ValueError, match=r"x is float64, but \w+ computes in float32; give it x\.to\(torch"):
        block(torch.zeros(1, 3, 8, dtype=torch.float64))


@row("`torch.utils.checkpoint`", "works", "`sma.recompute` replays the decisions as well")
def checkpointed(model, folder):
    model.train()
    direct = torch.autograd.grad(model(TOKENS).square().mean(), model.embedding.weight)
    result = torch.utils.checkpoint.checkpoint(model, TOKENS, use_reentrant=False)
    again = torch.autograd.grad(result.square().mean(), model.embedding.weight)
    torch.testing.assert_close(again, direct)


@row("hooks of modules and tensors", "works", "every layer is called, and its weight never read")
def hooks(model, folder):
    called = set()
    for layer in linears(model):
        layer.register_forward_hook(lambda module, *_: called.add(module))
    model(TOKENS)
    assert called == set(linears(model))


@row(
    "`torch.jit.trace`",
    "refused",
    "it keeps the decisions about one input; use `torch.compile`, `torch.export`",
)
def traced(model, folder):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ValueError, match=r"^torch\.jit\.trace would keep the decisions about one input"):
            torch.jit.trace(model, (TOKENS,))


@row(
    "`torch.jit.script`, `torch.fx.symbolic_trace`",
    "refused",
    "by torch, or as an input that is not a tensor",
)
def scripted(model, folder):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises((ValueError, RuntimeError)):
            torch.jit.script(model)
    with pytest.raises(ValueError, match=r"^inputs must be a tensor .* got Proxy"):
        torch.fx.symbolic_trace(model)


@pytest.mark.parametrize("feature", ROWS)
def test_it_is_as_the_page_says(feature, tmp_path):
    ROWS[feature][2](build(), tmp_path / "model")


def test_the_table_on_the_page_is_that_of_the_checks():
    expected = [f"| {feature} | {verdict} | {remark} |" for feature, (verdict, remark, _) in ROWS.items()]
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    found = [line for line in lines if re.match(r"\| .* \| (works|refused) \|", line)]
    assert found == expected, "the table should be:\n" + "\n".join(expected)
