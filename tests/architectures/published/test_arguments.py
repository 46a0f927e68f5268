import pytest

from sma.architectures.published.arguments import complete, kind_of, parse


def test_flags_win_over_architectures_and_these_over_families():
    values = parse("fairseq_lra", ["data", "-a", "slag_lra_cifar10", "--z-dim", "8", "--lr", "0.1"])
    assert values["z_dim"] == 8
    assert (values["encoder_embed_dim"], values["classifier_out_dim"], values["chunk_size"]) == (
        160,
        320,
        1024,
    )
    assert (values["dropout"], values["attention_activation_fn"]) == (0.1, "relu2")
    assert values["activation_fn"] == "silu"


def test_switches_are_off_unless_given_but_for_raw_audio():
    assert not parse("fairseq_lra", ["-a", "slag_lra_imdb"])["encoder_normalize_before"]
    assert parse("fairseq_lra", ["-a", "slag_lra_imdb", "--local-pos"])["local_pos"]
    assert parse("fairseq_sc", ["-a", "slag_sc_raw_base"])["encoder_normalize_before"]


@pytest.mark.parametrize(
    ("kind", "line", "name", "expected"),
    [
        ("fairseq_lra", "-a slag_lra_imdb --encoder-hidden-dim 12", "encoder_ffn_embed_dim", 12),
        ("fairseq_lra", "-a slag_lra_imdb --encoder-ffn-embed-dim -1", "encoder_ffn_embed_dim", -1),
        ("fairseq_lra", "-a slag_lra_imdb --encoder-embed-dim 12", "classifier_in_dim", 12),
        ("fairseq_lra", "-a slag_lra_imdb --encoder-embed-dim 12", "classifier_out_dim", 256),
        ("fairseq_lra", "-a slag_lra_aan --encoder-embed-dim 12", "classifier_in_dim", 24),
        ("fairseq_lra", "-a slag_lra_aan --encoder-embed-dim 12 --use-nli", "classifier_in_dim", 48),
        ("fairseq_sc", "-a slag_sc_raw_base --encoder-embed-dim 12", "classifier_out_dim", 24),
        ("fairseq_lm", "-a slag_lm --decoder-hidden-dim 12", "decoder_ffn_embed_dim", 12),
        ("fairseq_lm", "-a slag_lm_big --decoder-hidden-dim 12", "decoder_ffn_embed_dim", 2048),
        ("fairseq_lm", "-a slag_lm --decoder-embed-dim 12", "decoder_input_dim", 12),
    ],
)
def test_defaults_that_follow_from_other_arguments(kind, line, name, expected):
    assert parse(kind, line.split())[name] == expected


def test_a_checkpoint_may_hold_no_length():
    values = complete(
        "fairseq_lm", {"arch": "slag_lm", "max_target_positions": None, "truncation_length": None}
    )
    assert values["max_target_positions"] == 1024
    assert values["truncation_length"] is None


def test_errors_name_what_is_wrong():
    with pytest.raises(ValueError, match=r"unknown architecture 'mega_lra_imdb'.*slag_lra_imdb"):
        kind_of("mega_lra_imdb")
    with pytest.raises(ValueError, match="'slag_lm' is of kind 'fairseq_lm', not 'fairseq_lra'"):
        parse("fairseq_lra", ["-a", "slag_lm"])
    with pytest.raises(ValueError, match="command line is wrong: argument --z-dim: invalid int value: 'x'"):
        parse("fairseq_lra", ["-a", "slag_lra_imdb", "--z-dim", "x"])
    with pytest.raises(ValueError, match="lack 'norm_type'"):
        parse("fairseq_lra", ["-a", "slag_lra_aan"])["norm_type"]
