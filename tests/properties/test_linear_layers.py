"""Every linear layer is called and never read, so that adapters, hooks, pruning and quantisation act."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

import sma
from sma.architectures import seqboat
from sma.architectures.models.embeddings import TokenEmbedding
from sma.architectures.models.heads import LanguageModelHead
from sma.architectures.presets.by_name import model_presets, starting_sizes
from sma.modules import (
    Dense,
    ExpertChoiceRouter,
    GatedFeedForward,
    GumbelRouter,
    LatentConfigurator,
    SelectiveSSM,
    SigmoidRouter,
    TopKRouter,
)
from sma.testing.contract import assert_close

D = 8


class Adapted(nn.Module):
    """A linear layer with a low-rank adapter. The layer's attributes cannot be read here."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer.requires_grad_(False)
        self.down = nn.Parameter(0.1 * torch.randn(2, layer.in_features))
        self.up = nn.Parameter(0.1 * torch.randn(layer.out_features, 2))

    def forward(self, x):
        return self.layer(x) + x @ self.down.to(x).T @ self.up.to(x).T


def adapt(module):
    """Put an adapter around every linear layer."""
    for name, child in list(module.named_children()):
        if type(child) is nn.Linear:
            setattr(module, name, Adapted(child))
        else:
            adapt(child)


def build(preset):
    sizes = starting_sizes(preset)
    spec = model_presets()[preset](**({**sizes, "d_model": 16, "n_layers": 2} if sizes else {}))
    torch.manual_seed(0)
    return spec.build()


def inputs(spec, shape=(2, 6)):
    """Random inputs for a model, and whether it takes two of them."""
    values = {
        "tokens": lambda: torch.randint(20, shape),
        "features": lambda: torch.randn(*shape, spec.embedding.d_input),
    }.get(spec.embedding.kind, lambda: torch.randn(shape))()
    if spec.kind == "graph_model":
        from torch_geometric.data import Data

        return Data(x=values[0], edge_index=torch.tensor([[0, 1, 2, 5], [1, 2, 0, 4]]))
    return (values, values.flip(1)) if getattr(spec.head, "n_documents", 1) == 2 else values


@pytest.mark.parametrize("preset", model_presets())
def test_adapters_take_part_in_every_preset(preset):
    model = build(preset)
    x = inputs(model.spec)
    adapt(model)
    with sma.record(model) as recording:
        y = model(x)
    (y.square().mean() + sum(recording.losses.values())).backward()
    adapters = {name: part for name, part in model.named_modules() if isinstance(part, Adapted)}
    assert adapters
    assert recording.flops is not None
    dead = [name for name, part in adapters.items() if part.down.grad is None or part.up.grad is None]
    assert not dead, f"these linear layers were not called: {dead}"


@pytest.mark.parametrize(
    "preset", ["seqboat", "mega_chunk", "mixtral_like", "transformer", "ssm_only", "sma_all"]
)
def test_adapted_models_decode(preset):
    model = build(preset).eval()
    adapt(model)
    tokens, model = inputs(model.spec), model.double()
    whole, state = model(tokens), model.init_state(len(tokens))
    first, _ = model.prefill(tokens[:, :4], None, state)
    steps = [model.step(tokens[:, t], state) for t in (4, 5)]
    assert_close(torch.cat([first, torch.stack(steps, 1)], 1), whole, "step by step")


def test_an_adapted_language_model_head_counts_its_operations():
    embedding = TokenEmbedding(D, vocab_size=11)
    head = LanguageModelHead(D, embedding=embedding, tie_embedding=False)
    adapt(head)
    head(torch.randn(2, 3, D)).sum().backward()
    assert head.output.up.grad is not None
    assert head.flops(3) == LanguageModelHead(D, embedding=embedding).flops(3) == 2 * 3 * D * 11


@pytest.mark.parametrize(
    "make",
    [lambda: SelectiveSSM(D, d_state=4, d_head=4), lambda: Dense(GatedFeedForward(D, d_hidden=12))],
    ids=["selective ssm", "gated feed-forward"],
)
def test_adapted_modules_that_no_preset_has(make):
    module = make().double()
    n_operations = module.flops(5)
    adapt(module)
    module.double()
    x = torch.randn(2, 5, D, dtype=torch.float64)
    y, state = module(x), module.init_state(2, dtype=x.dtype)
    assert_close(torch.cat([module.step(x[:, :3], state), module.step(x[:, 3:], state)], 1), y, "steps")
    y.square().mean().backward()
    assert all(p.grad is not None for name, p in module.named_parameters() if name.endswith((".up", ".down")))
    assert module.flops(5) == n_operations
    assert "Adapted" in repr(module)


ROUTERS = {
    "latent configurator": lambda: LatentConfigurator(D, n_modules=3),
    "sigmoid": lambda: SigmoidRouter(D, n_modules=3),
    "gumbel": lambda: GumbelRouter(D, n_modules=3),
    "top-k": lambda: TopKRouter(D, n_modules=3, top_k=2),
    "expert choice": lambda: ExpertChoiceRouter(D, n_modules=3, capacity=0.5, d_predictor=4),
}
WEIGHTS = {
    "plain": lambda layer: layer,
    "pruned": lambda layer: prune.l1_unstructured(layer, "weight", 0.3),
    "weight norm": parametrizations.weight_norm,
    "weight norm by a hook": nn.utils.weight_norm,
    "spectral norm": parametrizations.spectral_norm,
}


def linears(module):
    return [part for part in module.modules() if isinstance(part, nn.Linear)]


@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("kind", ROUTERS)
def test_a_router_decides_by_the_weight_that_its_layer_computes(kind, weights, dtype):
    """Loaded routers decide as the saved one; narrow weights are computed with in float32."""
    torch.manual_seed(0)
    saved, loaded, exact, plain = (ROUTERS[kind]().eval() for _ in range(4))
    for layer in linears(saved):
        nn.init.normal_(layer.weight)
    for router in (saved, loaded, exact):
        for layer in linears(router):
            WEIGHTS[weights](layer)
    state = saved.to(dtype).state_dict()
    loaded.to(dtype).load_state_dict(state)
    exact.load_state_dict({name: tensor.float() for name, tensor in state.items()})
    x = torch.randn(2, 20, D).to(dtype)
    expected = exact(x.float())
    exact.step(x.float(), None)  # the predictor's weights are computed now, too
    own = dict(plain.named_parameters())
    with torch.no_grad():
        for name, parameter in own.items():
            path, _, last = name.rpartition(".")
            parameter.copy_(getattr(exact.get_submodule(path), last))
    for routing in (saved(x), loaded(x), plain(x.float())):
        assert torch.equal(routing.active, expected.active)
        torch.testing.assert_close(routing.confidence, expected.confidence, rtol=1e-5, atol=1e-6)
    assert torch.equal(loaded.step(x, None).active, exact.step(x.float(), None).active)


@pytest.mark.parametrize("kind", ROUTERS)
def test_hooks_on_a_router_run(kind):
    router, called = ROUTERS[kind](), []
    for layer in linears(router):
        layer.register_forward_hook(lambda layer, *_: called.append(layer))
    router(torch.randn(2, 4, D))
    assert called == linears(router)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_pruned_routers_train(dtype):
    model = seqboat(vocab_size=20, d_model=D, n_layers=1, window=4, d_qk=4).build().to(dtype)
    router = next(part for part in model.modules() if isinstance(part, LatentConfigurator))
    prune.l1_unstructured(router.projection, "weight", 0.3)
    for _ in range(2):
        model(torch.randint(20, (2, 12))).square().mean().backward()
    assert router.projection.weight_orig.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_spectral_norm_of_a_router_iterates(dtype):
    """Changes that a layer's forward pass makes to its buffers stay."""
    router = LatentConfigurator(D, n_modules=3)
    parametrizations.spectral_norm(router.projection)
    router.to(dtype)
    buffers = [buffer.clone() for buffer in router.buffers()]
    router(torch.randn(1, 2, D, dtype=dtype))
    assert not any(torch.equal(old, new) for old, new in zip(buffers, router.buffers(), strict=True))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize("preset", ["seqboat", "mega_chunk", "mixtral_like", "mixture_of_depths", "sma_all"])
def test_quantised_models_run(preset):
    model = build(preset).eval()
    tokens = inputs(model.spec)
    exact = model(tokens)
    small = torch.ao.quantization.quantize_dynamic(model, {nn.Linear}, dtype=torch.qint8)
    assert not any(type(part) is nn.Linear for part in small.modules())
    quantised, state = small(tokens), small.init_state(len(tokens))
    small.step(tokens[:, 0], state)
    assert (quantised - exact).abs().mean() < 0.1 * exact.abs().mean()
