import pytest
import torch

import sma
from sma.architectures import load_model, save_model
from sma.architectures.files.yaml import dump_spec, load_spec
from sma.architectures.presets import mixtures
from sma.testing import SequenceModuleContract

PRESETS = {
    "mixture_of_depths": {"n_heads": 2, "capacity": 0.5},
    "switch": {"n_heads": 2, "n_experts": 3},
    "mixtral_like": {"n_heads": 2, "n_experts": 4, "d_hidden": 8},
    "moe_seqboat": {"n_experts": 4, "d_qk": 4, "window": 3},
    "sma_all": {"window": 3, "d_state": 2},
}


def build(name, **task):
    torch.manual_seed(0)
    return getattr(mixtures, name)(d_model=8, n_layers=2, **PRESETS[name], **task).build()


@pytest.mark.parametrize("name", PRESETS)
def test_trains_a_step_saves_and_loads(name, tmp_path):
    model = build(name, vocab_size=11)
    tokens = torch.randint(11, (2, 12))
    with sma.record() as recording:
        logits = model(tokens)
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens.flatten()) + sum(
        recording.losses.values()
    )
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    before = loss.item()
    torch.optim.SGD(model.parameters(), 0.05).step()
    model.eval()
    after = torch.nn.functional.cross_entropy(model(tokens).flatten(0, 1), tokens.flatten()).item()
    assert after < before
    save_model(model, tmp_path)
    assert torch.equal(load_model(tmp_path)(tokens), model(tokens))
    (tmp_path / "spec.yaml").write_text(dump_spec(model.spec))
    assert load_spec(tmp_path / "spec.yaml") == model.spec


@pytest.mark.parametrize("name", PRESETS)
def test_rows_are_independent_of_batch_mates_and_padding(name):
    model = build(name, vocab_size=11, n_classes=3).double().eval()
    tokens = torch.randint(11, (2, 9))
    mask = torch.arange(9) < torch.tensor([[9], [5]])
    together = model(tokens, mask)
    torch.testing.assert_close(together[1:], model(tokens[1:, :5]), rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", [name for name in PRESETS if name != "mixture_of_depths"])
def test_steps_equal_forward(name):
    model = build(name, vocab_size=11).double().eval()
    tokens = torch.randint(11, (2, 9))
    with torch.no_grad():
        expected = model(tokens)
        logits, state = model.prefill(tokens[:, :5])
        torch.testing.assert_close(logits, expected[:, :5], rtol=0, atol=1e-10)
        for t in range(5, 9):
            torch.testing.assert_close(model.step(tokens[:, t], state), expected[:, t], rtol=0, atol=1e-10)


def test_mixture_of_depths_decodes_by_its_predictor():
    model = build("mixture_of_depths", vocab_size=11).eval()
    with torch.no_grad(), sma.record() as recording:
        _, state = model.prefill(torch.randint(11, (2, 5)))
        logits = model.step(torch.randint(11, (2,)), state)
    assert logits.shape == (2, 11)
    assert len(recording.layers) == 2


def test_mixture_of_depths_takes_its_share():
    model = build("mixture_of_depths", vocab_size=11)
    with sma.record() as recording:
        model(torch.randint(11, (2, 12)))
    assert [layer.activation_rate.item() for layer in recording.layers] == [0.5]


def test_an_odd_number_of_layers_is_refused():
    with pytest.raises(ValueError, match="n_layers must be even, got 3"):
        mixtures.mixture_of_depths(vocab_size=11, d_model=8, n_layers=3)


def test_every_subset_of_sub_modules_is_activated_by_some_element():
    model = build("sma_all", vocab_size=11)
    router = model.blocks[0].branches[1].router
    with torch.no_grad():
        router.projection.weight.normal_()
    with sma.record() as recording:
        model(torch.randint(11, (8, 100)))
    subsets = recording.layers[0].routing.active.flatten(0, 1)
    assert len(subsets.unique(dim=0)) == 8


class TestMixtureOfExpertsBlock(SequenceModuleContract):
    def make(self):
        return (
            mixtures.moe_seqboat(
                d_model=self.d_model, n_layers=1, vocab_size=3, n_experts=3, d_qk=2, window=2
            )
            .blocks[0]
            .build(self.d_model)
        )
