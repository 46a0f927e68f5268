"""Decoding by models of every preset: gradients, holes in masks, kept states, states of other models."""

import copy
import inspect
import re

import pytest
import torch

from sma.architectures import (
    local_attention,
    mega,
    mega_chunk,
    mixtral_like,
    moe_seqboat,
    seqboat,
    sma_all,
    ssm_only,
    switch,
    transformer,
)

SIZES = {"n_heads": 2, "d_qk": 4, "d_state": 2, "window": 3, "n_experts": 3, "max_positions": 64, "chunk": 4}
PRESETS = {
    preset.__name__: preset
    for preset in (
        seqboat,
        mega,
        mega_chunk,
        ssm_only,
        sma_all,
        transformer,
        local_attention,
        switch,
        mixtral_like,
        moe_seqboat,
    )
}
EVERY_PRESET = pytest.mark.parametrize("name", PRESETS)
TOKENS = torch.randint(11, (3, 40), generator=torch.Generator().manual_seed(0))
LENGTHS = (40, 23, 0)


def language_model(name, **options):
    torch.manual_seed(0)
    preset = PRESETS[name]
    known = inspect.signature(preset).parameters
    fixed = {"vocab_size": 11, "d_model": 8, "n_layers": 1}
    sizes = {key: value for key, value in SIZES.items() if key in known}
    return preset(**(fixed | sizes | options)).build().double().eval()


def holes():
    """A mask with padding before, between and behind the real elements of a row."""
    mask = torch.rand(TOKENS.shape, generator=torch.Generator().manual_seed(1)).argsort(1)
    return mask < torch.tensor(LENGTHS)[:, None]


def gradients(model, scores):
    grads = torch.autograd.grad(scores.square().sum(), list(model.parameters()), materialize_grads=True)
    return dict(zip(dict(model.named_parameters()), grads, strict=True))


@EVERY_PRESET
@pytest.mark.parametrize("length", [3, 40])
def test_prefill_has_the_gradients_of_forward(name, length):
    model, mask = language_model(name), holes()[:, :length]
    tokens = TOKENS[:, :length]
    expected = gradients(model, model(tokens, mask)[mask])
    scores, state = model.prefill(tokens, mask)
    for parameter, gradient in gradients(model, scores[mask]).items():
        torch.testing.assert_close(gradient, expected[parameter], msg=parameter)
    assert not any(tensor.requires_grad for _, tensor in state.tensors())
    assert not model.step(TOKENS[:, 0], state).requires_grad, (
        "it would lack the gradients of what came before"
    )
    assert not model.prefill(TOKENS, None, model.init_state(3))[0].requires_grad


@EVERY_PRESET
@torch.no_grad()
def test_what_a_mask_leaves_out_is_as_if_it_were_not_there(name):
    model, mask = language_model(name), holes()
    forward, (prefilled, state) = model(TOKENS, mask), model.prefill(TOKENS, mask)
    following = model.step(TOKENS[:, 0], state)
    for b, length in enumerate(LENGTHS):
        text = torch.cat((TOKENS[b, mask[b]], TOKENS[b, :1]))[None]
        alone = model(text)[0]
        torch.testing.assert_close(forward[b, mask[b]], alone[:length])
        torch.testing.assert_close(prefilled[b, mask[b]], alone[:length])
        torch.testing.assert_close(following[b], alone[length])


@EVERY_PRESET
def test_a_state_of_inference_mode_goes_on_outside_of_it(name):
    model = language_model(name)
    with torch.no_grad():
        expected = model(TOKENS[:, :8])
    with torch.inference_mode():
        _, state = model.prefill(TOKENS[:, :4])
        model.step(TOKENS[:, 4], state)
        joined = state.join(state.select(torch.tensor([0])))
    with torch.no_grad():
        torch.testing.assert_close(model.step(TOKENS[:, 5], state), expected[:, 5])
        torch.testing.assert_close(model.step(TOKENS[[0, 1, 2, 0], 5], joined)[3], expected[0, 5])
    torch.testing.assert_close(model.step(TOKENS[:, 6], state), expected[:, 6])
    with torch.inference_mode():
        torch.testing.assert_close(model.step(TOKENS[:, 7], state), expected[:, 7])


@EVERY_PRESET
@torch.no_grad()
def test_a_kept_state_does_not_move(name):
    model = language_model(name)
    _, state = model.prefill(TOKENS[:, :6])
    kept = [state.to("cpu"), state.clone(), state.select(slice(0, 3)), copy.deepcopy(state)]
    for t in range(6, 12):
        model.step(TOKENS[:, t], state)
    expected = model(TOKENS)
    for copied in kept:
        for t in range(6, 9):
            torch.testing.assert_close(model.step(TOKENS[:, t], copied), expected[:, t])


@EVERY_PRESET
@torch.no_grad()
def test_a_state_of_another_model_is_refused_by_what_differs(name):
    model = language_model(name)
    others = [language_model(name, d_model=16), language_model(name, n_layers=2)]
    for key, value in (("window", 5), ("chunk", 8), ("max_positions", 32), ("d_state", 4)):
        if key in inspect.signature(PRESETS[name]).parameters:
            others.append(language_model(name, **{key: value}))
    for other in others:
        kept = other.init_state(3)
        if str([t.shape for _, t in kept.tensors()]) == str(
            [t.shape for _, t in model.init_state(3).tensors()]
        ):
            continue  # such as routers without a state
        with pytest.raises(ValueError, match=r"the state is of another model: \w+(\.\w+ is \(B| holds)"):
            model.step(TOKENS[:, 0], kept)
    another = "mega" if name != "mega" else "ssm_only"
    with pytest.raises(ValueError, match=r"another model|must be the"):
        model.step(TOKENS[:, 0], language_model(another).init_state(3))


@EVERY_PRESET
def test_a_state_prints_in_a_line(name):
    text = repr(language_model(name).init_state(3))
    assert re.fullmatch(r"SequenceModelState of 3 rows: \d+ tensors?, [\d,]+ bytes on cpu", text)
