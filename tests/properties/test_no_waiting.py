"""With `CapacityCompaction` nothing makes the host wait for a GPU.

On a GPU, torch itself watches. Everywhere else the model runs on meta tensors: they take the code's paths for
devices, and have no data, so that whatever asks for data (a number, a truth value, the places of what is
active) fails. Copies between host and device, which wait too, are watched for; those of `torch.tensor` and of
a list used as an index are seen on a GPU only.
"""

from contextlib import contextmanager, nullcontext

import pytest
import torch
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import sma
from sma import SMA, CapacityCompaction, PackedCompaction
from sma.architectures import Residual, seqboat
from sma.modules import (
    Dense,
    DenseAttention,
    ExpertBank,
    ExpertChoiceRouter,
    FeedForward,
    LayerNorm,
    MixtureOfExperts,
    SequenceSubModule,
    TopKRouter,
)

CAUSAL = [{"position": {"kind": kind}} for kind in ("rotary", "rank", "t5", "none")]
BIDIRECTIONAL = {"bidirectional": True, "attention": "laplace", "norm": {"kind": "scale_norm"}}
LEARNED = {"position": {"kind": "learned", "max_positions": 30}}
OPTIONS = pytest.mark.parametrize("options", [*CAUSAL, {**BIDIRECTIONAL, **LEARNED}, {"attention": "relu2"}])


def language_model(compaction=None, **options):
    torch.manual_seed(0)
    task = {"n_classes": 11} if options.get("bidirectional") else {}
    sizes = {"vocab_size": 11, "d_model": 16, "n_layers": 2, "d_qk": 8, "d_state": 4, "window": 5}
    model = seqboat(**sizes, **task, **options).build()
    for layer in model.modules():
        if isinstance(layer, SMA):
            layer.compaction = compaction or CapacityCompaction(0.8)
    return model


def train(model, tokens):
    scores = model(tokens)
    target = tokens if scores.dim() == 3 else tokens[:, 0]
    F.cross_entropy(scores.flatten(0, -2), target.flatten()).backward()
    return [scores.detach(), *(p.grad for p in model.parameters())]


class NoCopies(TorchDispatchMode):
    """Refuse every operation that takes data from the host to a device, or back."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        tensors = (x for x in tree_leaves((args, kwargs, result)) if isinstance(x, torch.Tensor))
        devices = {x.device.type for x in tensors}
        if len(devices) > 1:
            raise AssertionError(f"{function} copies between {' and '.join(sorted(devices))}")
        return result


@contextmanager
def no_waiting():
    with pytest.MonkeyPatch.context() as patch, NoCopies():
        patch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # it does not know meta tensors
        patch.setattr(torch, "is_autocast_enabled", lambda *_: False)
        yield


def meta_tokens(*shape):
    return torch.empty(shape, dtype=torch.long, device="meta")


@OPTIONS
def test_training(options):
    model = language_model(**options).to("meta")
    with no_waiting(), sma.record(model) as recording:
        results = train(model, meta_tokens(3, 40))
    assert len(recording.layers) == 2
    assert all(result.is_meta for result in results)


@torch.no_grad()
def test_decoding():
    model = language_model().to("meta")
    with no_waiting():
        state = model.init_state(3)
        for length in (7, 1):
            model.prefill(meta_tokens(3, length), None, state)
        assert model.step(meta_tokens(3), state).shape == (3, 11)


@pytest.mark.skipif(not hasattr(F, "grouped_mm"), reason="this torch has no grouped_mm")
def test_experts():
    experts = MixtureOfExperts(TopKRouter(16, n_modules=4, top_k=2), ExpertBank(16, n_experts=4, d_hidden=8))
    experts = experts.to("meta", torch.bfloat16)
    with no_waiting():
        experts(
            torch.empty(2, 30, 16, device="meta", dtype=torch.bfloat16, requires_grad=True)
        ).sum().backward()
    assert all(p.grad.is_meta for p in experts.parameters())


def test_layers_routed_as_a_whole():
    """As in Mixture-of-Depths: the capacity is what the router takes of the longest row."""
    router = ExpertChoiceRouter(16, n_modules=1, capacity=0.25, d_predictor=4)
    parts = [DenseAttention(16, n_heads=2), Dense(FeedForward(16, d_hidden=8))]
    block = SequenceSubModule(Residual(parts, norm=LayerNorm(16)))
    layer = SMA(router, [block], compaction=CapacityCompaction(10)).to("meta")
    with no_waiting():
        layer(torch.empty(3, 40, 16, device="meta", requires_grad=True)).sum().backward()


@pytest.mark.parametrize("compaction", [PackedCompaction(), CapacityCompaction(0.8, strict=True)])
def test_other_compactions_wait(compaction):
    model = language_model(compaction).to("meta")
    with no_waiting(), pytest.raises((NotImplementedError, RuntimeError), match=r"nonzero|item"):
        train(model, meta_tokens(3, 40))


@pytest.mark.parametrize(
    "wait",
    [
        lambda x: x.sum().item(),
        lambda x: bool((x > 0).all()),
        lambda x: x[x > 0],
        lambda x: torch.ones(3).to(x.device),
    ],
)
def test_waiting_is_found(wait):
    errors = (AssertionError, NotImplementedError, RuntimeError)
    with no_waiting(), pytest.raises(errors, match=r"nonzero|item|copies"):
        wait(meta_tokens(3, 40))


def needs_gpu(test):
    unavailable = not torch.cuda.is_available()
    return pytest.mark.gpu(pytest.mark.skipif(unavailable, reason="needs a CUDA device")(test))


@pytest.fixture
def watched_cuda():
    mode = torch.cuda.get_sync_debug_mode()
    yield torch.device("cuda")
    torch.cuda.set_sync_debug_mode(mode)


@needs_gpu
@OPTIONS
def test_training_on_a_gpu(watched_cuda, options):
    model, tokens = language_model(**options), torch.randint(11, (3, 40))
    expected = [result.clone() for result in train(model, tokens)]
    model.zero_grad()
    model, tokens = model.to(watched_cuda), tokens.to(watched_cuda)
    torch.cuda.set_sync_debug_mode("error")
    results = train(model, tokens)
    torch.cuda.set_sync_debug_mode("default")
    for got, want in zip(results, expected, strict=True):
        torch.testing.assert_close(got.cpu(), want, rtol=1e-3, atol=1e-5)


@needs_gpu
def test_experts_on_a_gpu(watched_cuda):
    experts = MixtureOfExperts(TopKRouter(16, n_modules=4, top_k=2), ExpertBank(16, n_experts=4, d_hidden=8))
    experts, x = experts.to(torch.bfloat16), torch.randn(2, 30, 16).bfloat16()
    expected = experts(x)
    experts, x = experts.to(watched_cuda), x.to(watched_cuda).requires_grad_()
    torch.cuda.set_sync_debug_mode("error")
    y = experts(x)
    y.sum().backward()
    torch.cuda.set_sync_debug_mode("default")
    torch.testing.assert_close(y.cpu(), expected, rtol=0.05, atol=1e-3)


@needs_gpu
@torch.no_grad()
def test_decoding_on_a_gpu(watched_cuda):
    model, tokens = language_model(), torch.randint(11, (3, 9))
    expected = model(tokens)
    model, tokens = model.to(watched_cuda), tokens.to(watched_cuda)
    state = model.init_state(3)
    torch.cuda.set_sync_debug_mode("error")
    steps = [model.prefill(tokens[:, :4], None, state)[0], model.prefill(tokens[:, 4:8], None, state)[0]]
    steps.append(model.step(tokens[:, 8], state).unsqueeze(1))
    torch.cuda.set_sync_debug_mode("default")
    torch.testing.assert_close(torch.cat(steps, 1).cpu(), expected, rtol=1e-3, atol=1e-5)


@needs_gpu
@torch.no_grad()
def test_a_cuda_graph_replays_other_decisions():
    model, tokens = language_model().cuda(), torch.randint(11, (3, 40), device="cuda")
    stream, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        model(tokens)
    torch.cuda.current_stream().wait_stream(stream)
    with torch.cuda.graph(graph):
        scores = model(tokens)
    tokens.copy_(torch.randint(11, (3, 40), device="cuda"))
    graph.replay()
    torch.testing.assert_close(scores, model(tokens), rtol=1e-4, atol=1e-5)
