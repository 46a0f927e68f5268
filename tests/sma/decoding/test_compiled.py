"""A compiled step against the model's own."""

import pytest
import torch

from sma.architectures import seqboat
from sma.decoding import Batch, CompiledDecoder, Sampling, decoder
from sma.decoding.compiled import PAYS_FROM


def build():
    torch.manual_seed(0)
    return seqboat(vocab_size=11, d_model=8, n_layers=1, d_qk=4, window=3, d_state=2).build().eval()


@torch.no_grad()
def test_a_compiled_step_equals_the_models_own():
    model = build()
    compiled, tokens = CompiledDecoder(model), torch.randint(11, (2, 12))
    _, state = compiled.prefill(tokens[:, :4])
    got = torch.stack([compiled.step(token, state) for token in tokens[:, 4:].unbind(1)], 1)
    assert compiled.compiled
    torch.testing.assert_close(got, model(tokens)[:, 4:], rtol=1e-4, atol=1e-5)


def test_a_step_is_compiled_where_it_pays():
    model = build()
    assert decoder(model, n_steps=PAYS_FROM - 1) is model
    assert isinstance(decoder(model, n_steps=PAYS_FROM), CompiledDecoder)
    assert isinstance(decoder(model), CompiledDecoder)


def test_where_nothing_compiles_a_step_is_the_models_own(monkeypatch):
    def fails(*_):
        raise torch._dynamo.exc.BackendCompilerFailed(fails, RuntimeError("no compiler"), None)

    model = build()
    monkeypatch.setattr(torch, "compile", lambda step: fails)
    batch, alone = Batch(CompiledDecoder(model), max_rows=1), Batch(model, max_rows=1)
    streams = [b.add([1, 2], Sampling(n_tokens=4)) for b in (batch, alone)]
    with pytest.warns(UserWarning, match="could not be compiled, and runs as it is"):
        list(batch)
    list(alone)
    assert streams[0].tokens == streams[1].tokens
    assert not batch.model.compiled
