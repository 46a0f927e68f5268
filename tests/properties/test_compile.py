"""Whole models under torch.compile, against the same models without it."""

import pytest
import torch

import sma
from sma import SMA, CapacityCompaction
from sma.architectures import mega_chunk, seqboat, ssm_only, transformer
from sma.modules import MultiHeadEMA, SelectiveSSM


@pytest.fixture(autouse=True)
def forget_compiled_code():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def language_model(compaction=None, n_layers=2):
    torch.manual_seed(0)
    model = seqboat(vocab_size=11, d_model=16, n_layers=n_layers, d_qk=8, d_state=4, window=5).build()
    for layer in model.modules():
        if isinstance(layer, SMA) and compaction is not None:
            layer.compaction = compaction
    return model


def outputs_and_gradients(model, run, tokens):
    model.zero_grad()
    scores = run(tokens)
    torch.nn.functional.cross_entropy(scores.flatten(0, 1), tokens.flatten()).backward()
    return [scores, *(parameter.grad for parameter in model.parameters())]


def check(compaction, backend):
    model = language_model(compaction)
    compiled = torch.compile(model, backend=backend, fullgraph=True)
    for seed in range(3):  # other elements are active each time; compiled once
        tokens = torch.randint(11, (3, 40), generator=torch.Generator().manual_seed(seed))
        with torch.compiler.set_stance("default" if seed == 0 else "fail_on_recompile"):
            ours = outputs_and_gradients(model, compiled, tokens)
        expected = outputs_and_gradients(model, model, tokens)
        for mine, theirs in zip(ours, expected, strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-6)


def test_fixed_capacity_compiles_to_one_graph():
    check(CapacityCompaction(0.8), "aot_eager")


@pytest.mark.slow
def test_fixed_capacity_compiles_to_one_graph_with_inductor():
    check(CapacityCompaction(0.8), "inductor")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("compaction", "whole"),
    [(CapacityCompaction(0.8), True), (None, True), (None, False)],
    ids=["capacity", "packed", "graph breaks"],
)
def test_activation_checkpointing_compiles(compaction, whole):
    model = language_model(compaction, n_layers=1)
    model.activation_checkpointing = True
    tokens = torch.randint(11, (3, 40))
    with torch._dynamo.config.patch(capture_dynamic_output_shape_ops=whole):
        compiled = torch.compile(model, backend="aot_eager", fullgraph=whole)
        ours = outputs_and_gradients(model, compiled, tokens)
    for mine, theirs in zip(ours, outputs_and_gradients(model, model, tokens), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "whole", [True, pytest.param(False, marks=pytest.mark.slow)], ids=["one graph", "graph breaks"]
)
def test_packed_elements_compile_once_for_any_number_of_them(whole):
    """With graph breaks in two calls: after an empty graph (of a part without operations) torch runs the code
    of that method without compilation, so that what it calls is compiled by the second call."""
    model = language_model(n_layers=1)
    with torch._dynamo.config.patch(capture_dynamic_output_shape_ops=whole):
        compiled = torch.compile(model, backend="aot_eager", fullgraph=whole, dynamic=True)
        numbers = set()
        for seed in range(4):
            tokens = torch.randint(11, (3, 40), generator=torch.Generator().manual_seed(seed))
            with torch.compiler.set_stance("default" if seed < (1 if whole else 2) else "fail_on_recompile"):
                ours = outputs_and_gradients(model, compiled, tokens)
            with sma.record() as recording:
                expected = outputs_and_gradients(model, model, tokens)
            numbers.add(int(recording.layers[0].n_elements))
            for mine, theirs in zip(ours, expected, strict=True):
                torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-6)
    assert len(numbers) == 4


@torch.no_grad()
def test_a_decoding_step_compiles_to_one_graph():
    model = language_model().eval()
    state = model.prefill(torch.randint(11, (4, 9)))[1]
    same = state.select(torch.arange(4))
    with torch._dynamo.config.patch(capture_dynamic_output_shape_ops=True):
        step = torch.compile(model.step, backend="aot_eager", fullgraph=True)
        for number, tokens in enumerate(torch.randint(11, (8, 4))):
            with torch.compiler.set_stance("fail_on_recompile" if number else "default"):
                torch.testing.assert_close(step(tokens, same), model.step(tokens, state))
    for (name, mine), (_, theirs) in zip(same.tensors(), state.tensors(), strict=True):
        torch.testing.assert_close(mine, theirs, msg=name)


LENGTHS = (128, 192, 200, 256, 300, 320, 384, 448, 500, 512, 577, 700, 1100)
"""Whole chunks of an SSM and parts of them, and numbers of chunks that a scan halves differently."""


def check_lengths(module, make, *, at_most, backend):
    """One graph serves all lengths but for `at_most` guards, such as whole chunks; outputs and gradients."""
    compiled = torch.compile(module, backend=backend, fullgraph=True, dynamic=True)
    torch._dynamo.utils.counters.clear()
    for length in LENGTHS:
        arguments, results = make(length), []
        for run in (module, compiled):
            module.zero_grad()
            y = run(*arguments)
            y.square().sum().backward()
            results.append([y, *(p.grad for p in module.parameters())])
        for mine, theirs in zip(*results, strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5 * float(theirs.abs().max()) + 1e-6)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] <= at_most


@pytest.mark.parametrize(
    "make",
    [
        lambda: MultiHeadEMA(4, d_state=2),
        lambda: MultiHeadEMA(4, d_state=2, truncation=96, bidirectional=True),
        lambda: SelectiveSSM(4, d_head=4, d_state=2),
    ],
    ids=["EMA", "truncated both ways", "Mamba-2"],
)
def test_a_state_space_model_compiles_once_for_many_lengths(make):
    check_lengths(make(), lambda length: (torch.randn(2, length, 4),), at_most=4, backend="eager")


@pytest.mark.slow
@pytest.mark.parametrize("masked", [False, True])
def test_a_model_of_fixed_capacity_compiles_once_for_many_lengths_and_rows(masked):
    model = language_model(CapacityCompaction(64), n_layers=1)

    def make(length):
        tokens = torch.randint(11, (2 + length % 3, length))
        mask = torch.arange(length) < torch.randint(1, length + 1, (len(tokens), 1)) if masked else None
        return (tokens, mask)

    check_lengths(model, make, at_most=4, backend="aot_eager")


@pytest.mark.slow
@pytest.mark.parametrize("preset", [ssm_only, mega_chunk, transformer])
def test_other_models_compile_once_for_many_lengths(preset):
    options = {"chunk": 16} if preset is mega_chunk else {"n_heads": 2} if preset is transformer else {}
    model = preset(vocab_size=11, d_model=8, n_layers=1, **options).build()
    make = lambda length: (torch.randint(11, (2, length)),)  # noqa: E731
    check_lengths(model, make, at_most=4, backend="aot_eager")


def test_nothing_is_lost_when_a_compiled_model_is_recorded():
    model = language_model(CapacityCompaction(0.8))
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    tokens = torch.randint(11, (2, 20))
    compiled(tokens)
    with sma.record() as recording:
        compiled(tokens)
    compiled(tokens)
    assert [layer.name for layer in recording.layers] == ["blocks.0.branches.1", "blocks.1.branches.1"]
