import pytest
import torch

from sma.architectures import (
    export_model,
    export_step,
    mixture_of_depths,
    parse_spec,
    seqboat,
    seqboat_full,
    ssm_only,
)

SIZES = {"d_model": 16, "n_layers": 1, "d_state": 2}


def model(compaction="packed", **options):
    torch.manual_seed(0)
    values = seqboat(**{"vocab_size": 20, "window": 4, "d_qk": 4, **SIZES, **options}).model_dump(mode="json")
    for block in values["blocks"]:
        block["branches"][1]["compaction"] = {"kind": compaction} | (
            {"capacity": 1.0} if compaction == "capacity" else {}
        )
    return parse_spec(values).build().eval()


@pytest.mark.parametrize("compaction", ["packed", pytest.param("capacity", marks=pytest.mark.slow)])
def test_a_program_gives_what_the_model_gives(compaction):
    """For other data than those it was exported with, and other elements that are active."""
    one = model(compaction)
    tokens = torch.randint(20, (2, 9), generator=torch.Generator().manual_seed(0))
    program = export_model(one, tokens).module()
    for other in (tokens, tokens.flip(1), torch.zeros_like(tokens)):
        torch.testing.assert_close(program(other), one(other))


def test_a_program_of_steps_decodes():
    one = model("capacity")
    tokens = torch.randint(20, (2, 11), generator=torch.Generator().manual_seed(0))
    step = export_step(one, batch_size=2).module()
    tensors = [tensor for _, tensor in one.init_state(2).tensors()]
    start = [tensor.clone() for tensor in tensors]
    first, scores = tensors, []
    for token in tokens.unbind(1):
        score, tensors = step(token, tensors)
        scores.append(score)
    torch.testing.assert_close(torch.stack(scores, 1), one(tokens))
    assert all(map(torch.equal, first, start))


def test_steps_of_features():
    spec = ssm_only(vocab_size=9, **SIZES).model_dump(mode="json") | {
        "embedding": {"kind": "features", "d_input": 3},
        "head": {"kind": "node_classifier", "n_classes": 2},
    }
    one = parse_spec(spec).build().eval()
    x = torch.randn(1, 3)
    scores, _ = export_step(one, batch_size=1).module()(
        x, [tensor for _, tensor in one.init_state(1).tensors()]
    )
    torch.testing.assert_close(scores, one(x[:, None])[:, 0])


def test_what_cannot_be_exported_is_said_in_one_line():
    depths = (
        mixture_of_depths(vocab_size=20, d_model=16, n_layers=2, n_heads=2, max_positions=16).build().eval()
    )
    wrong = [
        (
            lambda: export_model(depths, torch.zeros(2, 6).long()),
            r"SequenceModel cannot be exported.*kind: capacity",
        ),
        (
            lambda: export_step(model(), 2),
            r"cannot be exported: .*compaction: \{kind: capacity\}.*torch.compile",
        ),
        (
            lambda: export_step(seqboat_full(vocab_size=20, d_qk=4, **SIZES).build(), 2),
            "no steps to export: GAU with",
        ),
        (lambda: export_model(model(), torch.zeros(2, 6)), r"tokens must be \(B, L\) integers"),
    ]
    for call, message in wrong:
        with pytest.raises(ValueError, match=message) as error:
            call()
        assert "\n" not in str(error.value)
