from typing import Literal

import pytest
import torch
from pydantic import ValidationError

import sma
from sma.architectures import SequenceModelSpec, parse_spec, seqboat
from sma.architectures.models.embeddings import TokenEmbedding
from sma.architectures.models.sequence import SequenceModel
from sma.architectures.specs.families import EmbeddingSpec, LayerSpec, NormSpec, SubModuleSpec
from sma.modules import MultiHeadEMA
from sma.modules.norms import Norm

SMALL = {"d_model": 8, "n_layers": 2, "d_qk": 4, "d_state": 2, "window": 3}


def language_model(**options):
    torch.manual_seed(0)
    return seqboat(vocab_size=11, **{**SMALL, **options}).build().double().eval()


def classifier(**options):
    torch.manual_seed(0)
    return seqboat(vocab_size=11, n_classes=5, **{**SMALL, **options}).build().double().eval()


def test_language_model_gives_scores_for_every_element():
    tokens = torch.randint(11, (2, 9))
    assert language_model()(tokens).shape == (2, 9, 11)


def test_classifier_ignores_padding_and_batch_mates():
    model = classifier()
    tokens = torch.randint(11, (3, 9))
    mask = torch.arange(9) < torch.tensor([9, 4, 1])[:, None]
    together = model(tokens, mask)
    for row, length in enumerate((9, 4, 1)):
        alone = model(tokens[row : row + 1, :length])
        torch.testing.assert_close(together[row], alone[0], rtol=0, atol=1e-12)


def test_document_pairs():
    spec = seqboat(vocab_size=11, n_classes=2, **SMALL)
    values = spec.model_dump() | {
        "head": {"kind": "classifier", "n_classes": 2, "n_documents": 2, "d_hidden": 4}
    }
    model = SequenceModelSpec.model_validate(values).build().eval()
    first, second = torch.randint(11, (2, 9)), torch.randint(11, (2, 5))
    masks = (torch.arange(9) < torch.tensor([[9], [3]]), None)
    scores = model((first, second), masks)
    assert scores.shape == (2, 2)
    torch.testing.assert_close(model((first[1:, :3], second[1:])), scores[1:])


@pytest.mark.parametrize("padding", ["none", "left", "right"])
def test_prefill_in_chunks_and_steps_equal_forward(padding):
    model = language_model(truncation=4)
    lengths = [12, 9, 9]
    tokens = torch.randint(11, (3, 12))
    rows = [row[:n] for row, n in zip(tokens, lengths, strict=True)]
    whole = [model(row[None])[0] for row in rows]
    prompts = [5, 2, 4] if padding != "none" else [4, 4, 4]
    width = max(prompts)
    chunk = torch.zeros(3, width, dtype=torch.long)
    mask = torch.zeros(3, width, dtype=torch.bool)
    for i, (row, n) in enumerate(zip(rows, prompts, strict=True)):
        place = slice(width - n, None) if padding == "left" else slice(n)
        chunk[i, place], mask[i, place] = row[:n], True
    with torch.no_grad():
        logits, state = model.prefill(chunk, mask)
        for i, n in enumerate(prompts):
            torch.testing.assert_close(logits[i][mask[i]], whole[i][:n], rtol=0, atol=1e-10)
        second = torch.stack([row[n : n + 2] for row, n in zip(rows, prompts, strict=True)])
        logits, state = model.prefill(second, None, state)
        for i, n in enumerate(prompts):
            torch.testing.assert_close(logits[i], whole[i][n : n + 2], rtol=0, atol=1e-10)
        for t in range(3):
            token = torch.stack([row[n + 2 + t] for row, n in zip(rows, prompts, strict=True)])
            logits = model.step(token, state)
            for i, n in enumerate(prompts):
                torch.testing.assert_close(logits[i], whole[i][n + 2 + t], rtol=0, atol=1e-10)


def test_rows_leave_and_join_a_running_batch():
    model = language_model()
    tokens = torch.randint(11, (3, 10))
    with torch.no_grad():
        expected = model(tokens)
        _, state = model.prefill(tokens[:2, :6])
        _, other = model.prefill(tokens[2:, :6])
        state.insert(torch.tensor([0]), other)  # row 2 takes the place of row 0
        logits = model.step(tokens[[2, 1], 6], state)
        torch.testing.assert_close(logits, expected[[2, 1], 6], rtol=0, atol=1e-10)
        state = state.select(torch.tensor([1]))
        torch.testing.assert_close(model.step(tokens[1:2, 7], state), expected[1:2, 7], rtol=0, atol=1e-10)
        state = state.join(other)  # row 1 has seen 8 elements, row 2 six
        logits = model.step(torch.stack((tokens[1, 8], tokens[2, 6])), state)
        torch.testing.assert_close(logits, expected[[1, 2], [8, 6]], rtol=0, atol=1e-10)


def test_state_size_is_constant():
    model = language_model(truncation=8)
    with torch.no_grad():
        _, early = model.prefill(torch.randint(11, (2, 3)))
        _, late = model.prefill(torch.randint(11, (2, 200)))
    sizes = [[tensor.shape for _, tensor in state.tensors()] for state in (early, late)]
    assert sizes[0] == sizes[1]


def test_record_names_layers_without_being_told_the_model():
    model = language_model()
    with sma.record() as recording:
        model(torch.randint(11, (2, 9)))
    assert [layer.name for layer in recording.layers] == ["blocks.0.branches.1", "blocks.1.branches.1"]
    assert set(recording.activation_rates) == {"blocks.0.branches.1", "blocks.1.branches.1"}


def test_a_classifier_does_not_decode():
    with pytest.raises(NotImplementedError, match="bidirectional"):
        classifier().init_state(2)


def test_a_language_model_refuses_parts_that_look_ahead():
    values = seqboat(vocab_size=11, **SMALL).model_dump()
    values["blocks"][0]["mixer"]["bidirectional"] = True
    with pytest.raises(ValidationError, match=r"blocks\.0\.mixer.*bidirectional to false"):
        SequenceModelSpec.model_validate(values)


def test_activation_checkpointing_gives_the_same_gradients():
    from torch.utils.checkpoint import checkpoint

    model = language_model().train()
    tokens = torch.randint(11, (2, 9))
    model(tokens).sum().backward()
    expected = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    x = model.embedding(tokens)
    for block in model.blocks:
        x = checkpoint(block, x, use_reentrant=False)
    model.head(model._normalise(x, None)).sum().backward()
    for gradient, parameter in zip(expected, model.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, gradient)


@pytest.mark.parametrize(
    "mask", [torch.ones(2, 8, dtype=torch.bool), torch.ones(9, dtype=torch.bool), torch.ones(2, 9), [True]]
)
def test_a_wrong_mask_is_named(mask):
    with pytest.raises(ValueError, match=r"mask must be \(B, L\) = \(2, 9\) bool"):
        language_model()(torch.randint(11, (2, 9)), mask)


def test_a_token_out_of_the_vocabulary_is_named_unless_it_is_padding():
    model, tokens = language_model(), torch.randint(11, (2, 9))
    mask = torch.ones(2, 9, dtype=torch.bool)
    mask[:, 7:] = False
    padded = tokens.masked_fill(~mask, -100)
    torch.testing.assert_close(model(padded, mask), model(tokens, mask))
    with pytest.raises(ValueError, match="token -100 is not in the vocabulary, 0 to 10"):
        model(padded)
    assert torch.equal(model(tokens.to(torch.uint8)), model(tokens))


class Reverse(sma.SequenceModule):
    causal = False

    def forward(self, x, mask=None):
        return x.flip(1)


class Around(sma.SequenceModule):
    """A container whose author did not think of causality."""

    def __init__(self, part):
        super().__init__()
        self.part = part

    def forward(self, x, mask=None):
        return self.part(x, mask)


class EmbedsBothWays(TokenEmbedding):
    def __init__(self, d_model, **options):
        super().__init__(d_model, **options)
        self.rnn = torch.nn.LSTM(d_model, d_model // 2, bidirectional=True, batch_first=True)

    def embed(self, inputs):
        return self.rnn(super().embed(inputs))[0]


class AcrossTime(Norm):
    causal = False

    def forward(self, x, mask=None):
        return x - x.mean(1, keepdim=True)


class ReverseElements(sma.SubModule):
    causal = False

    def forward(self, elements):
        return elements.x.flip(0)


@pytest.fixture
def look_ahead_kinds(monkeypatch):
    monkeypatch.setattr(sma.spec.registry, "_registered", dict(sma.spec.registry._registered))

    @sma.register
    class ReverseSpec(LayerSpec):
        kind: Literal["reverse"] = "reverse"

        def build(self, d_model):
            return Reverse()

    @sma.register
    class AroundSpec(LayerSpec):
        kind: Literal["around"] = "around"
        part: sma.OneOf[LayerSpec]

        def build(self, d_model):
            return Around(self.part.build(d_model))

    @sma.register
    class ReverseElementsSpec(SubModuleSpec):
        kind: Literal["reverse_elements"] = "reverse_elements"

        def build(self, d_model):
            return ReverseElements()

    @sma.register
    class AcrossTimeSpec(NormSpec):
        kind: Literal["across_time"] = "across_time"

        def build(self, d_model):
            return AcrossTime()

    @sma.register
    class BothWaysSpec(EmbeddingSpec):
        kind: Literal["both_ways"] = "both_ways"

        def build(self, d_model):
            return EmbedsBothWays(d_model, vocab_size=11)


def residual(*branches, **options):
    return {"kind": "residual", "branches": branches, **options}


def values(*blocks, **options):
    embedding = {"kind": "tokens", "vocab_size": 11}
    return {"d_model": 8, "embedding": embedding, "blocks": blocks, "head": "language_model", **options}


@pytest.mark.parametrize(
    ("given", "path"),
    [
        (values(residual("linear", "reverse")), r"blocks\.0\.branches\.1: .* Reverse looks"),
        (values(residual("linear", mixer="reverse")), r"blocks\.0\.mixer: .* Reverse looks"),
        (
            values({"kind": "stack", "blocks": [residual({"kind": "around", "part": "reverse"})]}),
            r"blocks\.0\.blocks\.0\.branches\.0\.part: .* Reverse looks",
        ),
        (
            values(residual({"kind": "dense", "module": "reverse_elements"})),
            r"blocks\.0\.branches\.0\.module: .* ReverseElements looks",
        ),
        (
            values(residual({"kind": "sma", "router": "always", "modules": ["reverse_elements"]})),
            r"blocks\.0\.branches\.0\.modules\.0: .* ReverseElements looks",
        ),
        (
            values(
                residual(
                    {
                        "kind": "sma",
                        "router": {"kind": "expert_choice", "capacity": 0.5},
                        "modules": [{"kind": "feed_forward", "d_hidden": 4}],
                    }
                )
            ),
            r"blocks\.0\.branches\.0: .* ExpertChoiceRouter at router looks",
        ),
        (values(residual("linear", norm="across_time")), r"blocks\.0\.norm: .* AcrossTime looks"),
        (values(residual("linear"), norm="across_time"), r"norm: .* AcrossTime looks"),
        (values(residual("linear"), embedding="both_ways"), r"embedding: .* LSTM at rnn looks"),
    ],
)
def test_a_language_model_refuses_what_looks_ahead_wherever_it_stands(look_ahead_kinds, given, path):
    with pytest.raises(ValidationError, match=path):
        parse_spec(given)
    parse_spec({**given, "head": {"kind": "classifier", "n_classes": 2}}).build()


def test_a_language_model_made_in_python_asks_its_modules():
    model = language_model()
    parts = {"embedding": model.embedding, "norm": None, "head": model.head}
    SequenceModel(model.spec, blocks=[Around(MultiHeadEMA(8))], **parts)
    with pytest.raises(ValueError, match=r"but Reverse at blocks\.1\.part looks ahead"):
        SequenceModel(model.spec, blocks=[MultiHeadEMA(8), Around(Reverse())], **parts)
    with pytest.raises(ValueError, match=r"but MultiHeadEMA at blocks\.0 looks ahead"):
        SequenceModel(model.spec, blocks=[MultiHeadEMA(8, bidirectional=True)], **parts)
    scorer = classifier()
    SequenceModel(scorer.spec, blocks=[Reverse()], **{**parts, "head": scorer.head})
    with pytest.raises(ValueError, match=r"but Reverse at blocks\.0 looks ahead"):
        SequenceModel(scorer.spec, blocks=[Reverse()], **parts)


def test_a_part_that_is_put_into_a_language_model_later_is_asked_too():
    model, tokens = language_model(), torch.zeros(1, 3, dtype=torch.long)
    model(tokens)
    kept = model.blocks[0]
    model.blocks[0] = Around(Reverse())
    for call in (lambda: model(tokens), lambda: model.prefill(tokens), lambda: model.init_state(1)):
        with pytest.raises(ValueError, match=r"but Reverse at blocks\.0\.part looks ahead"):
            call()
    model.blocks[0] = kept
    model(tokens)
    scorer = classifier()
    scorer.blocks[0] = Reverse()
    scorer(tokens)


def test_a_model_is_asked_once_for_the_same_parts(monkeypatch):
    asked = []
    monkeypatch.setattr("sma.architectures.models.sequence.check_causal", asked.append)
    model, tokens = language_model(), torch.zeros(1, 3, dtype=torch.long)
    n_asked = len(asked)
    model(tokens)
    model.prefill(tokens)
    assert len(asked) == n_asked
    model.blocks[0] = MultiHeadEMA(8)
    model(tokens)
    model(tokens)
    assert asked[n_asked:] == [model]
