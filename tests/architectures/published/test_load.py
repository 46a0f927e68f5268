"""Parity with the published implementation: every figure in tests/golden, by way of the importer."""

import json
import warnings

import pytest
import torch
from golden import compare, oracle
from safetensors.torch import load_file

import sma
from sma.architectures import load_model, save_model
from sma.architectures.published.configs import model as model_part
from sma.architectures.published.load import (
    layer_from_reference,
    model_from_reference,
    parameters_published,
    weights_from_reference,
)

ALL = compare.names()
EQUAL = [name for name in ALL if compare.load(name).deviation is None]
DEVIATING = [name for name in ALL if compare.load(name).deviation is not None]
COMPACTIONS = [sma.PackedCompaction(), sma.PaddedCompaction(), sma.CapacityCompaction(1.0, strict=True)]


@pytest.fixture(autouse=True)
def _no_warnings():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="the published feature_dropout")
        yield


def test_the_files_that_are_known_to_deviate():
    assert len(ALL) == 77
    assert len(DEVIATING) == 15
    assert all("laplace" in name or "rowfull" in name for name in DEVIATING)


@pytest.mark.parametrize(
    ("name", "compaction"),
    [
        pytest.param(name, compaction, id=f"{name}-{type(compaction).__name__}")
        for name in EQUAL
        for compaction in COMPACTIONS[: 3 if compare.load(name).decisions else 1]
    ],
)
def test_equals_the_published_figures(name, compaction):
    """Outputs, decisions, confidences, and gradients to the input and to every parameter."""
    errors = compare.errors(compare.load(name), compaction)
    assert errors.pop("decisions", 0) == 0
    assert {what: error for what, error in errors.items() if error > 1e-9} == {}


@pytest.mark.parametrize("name", [name for name in EQUAL if compare.load(name).group("unmodified_f32")])
def test_equals_the_untouched_float32_code(name):
    errors = compare.float32_errors(compare.load(name))
    assert {what: error for what, error in errors.items() if error > 5e-5} == {}


def _gradients(x, state, y, weight):
    leaves = {name: tensor for name, tensor in state.items() if tensor.requires_grad}
    grads = torch.autograd.grad((y * weight).sum(), [x, *leaves.values()], allow_unused=True)
    return grads[0], {
        name: torch.zeros_like(leaf) if grad is None else grad
        for (name, leaf), grad in zip(leaves.items(), grads[1:], strict=True)
    }


@pytest.mark.parametrize("name", DEVIATING)
def test_deviates_in_what_is_documented_and_in_nothing_else(name):
    """With the published behaviour the oracle gives the published figures, without it this project's."""
    case = compare.load(name)
    x = case.batch_first("input").clone().requires_grad_()
    state = {
        name: tensor.clone().requires_grad_(f"grad/{name}" in case.tensors)
        for name, tensor in case.group("state").items()
    }
    weight = case.batch_first("loss_weight")

    there = oracle.layer(case.config, state, x, case.mask, as_published=True)
    grad_x, grads = _gradients(x, state, there, weight)
    torch.testing.assert_close(there, case.batch_first("output"), rtol=0, atol=1e-9)
    torch.testing.assert_close(grad_x, case.batch_first("grad_input"), rtol=0, atol=1e-9)
    torch.testing.assert_close(grads, case.group("grad"), rtol=0, atol=1e-9)

    layer = case.build()
    here = compare.run(case, layer, x)
    own = dict(layer.named_parameters())
    found = torch.autograd.grad((here * weight).sum(), [x, *own.values()])
    expected = oracle.layer(case.config, state, x, case.mask, as_published=False)
    grad_x, grads = _gradients(x, state, expected, weight)
    torch.testing.assert_close(here, expected, rtol=0, atol=1e-9)
    torch.testing.assert_close(found[0], grad_x, rtol=0, atol=1e-9)
    translated = weights_from_reference(case.config, grads)
    torch.testing.assert_close(dict(zip(own, found[1:], strict=True)), translated, rtol=0, atol=1e-9)
    assert (here - there).abs().max() > 1e-3


@pytest.mark.parametrize("name", [name for name in DEVIATING if "rowfull" in name])
def test_a_row_beside_a_full_one_is_as_it_is_alone(name):
    case = compare.load(name)
    layer, x = case.build(), case.batch_first("input")
    together = layer(x)
    for b in range(len(x)):
        torch.testing.assert_close(together[b], layer(x[b : b + 1])[0], rtol=0, atol=1e-12)
    if case.config["ctor"]["attention_activation"] != "laplace":
        full = case.tensors["mask"].all(1)
        torch.testing.assert_close(together[full], case.batch_first("output")[full], rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", [name for name in DEVIATING if "laplace" in name and "causal" in name])
def test_laplace_does_not_see_the_future(name):
    case = compare.load(name)
    layer, x = case.build(), case.batch_first("input").clone()
    state, middle = case.group("state"), x.shape[1] // 2
    before = layer(x)[:, :middle]
    there = oracle.layer(case.config, state, x, None, as_published=True)[:, :middle]
    x[:, middle:] *= -1
    torch.testing.assert_close(layer(x)[:, :middle], before, rtol=0, atol=1e-12)
    changed = oracle.layer(case.config, state, x, None, as_published=True)[:, :middle]
    assert (changed - there).abs().max() > 1e-5, "the published code does"


def test_ema_steps():
    tensors = load_file(compare.FOLDER / "ema_steps_causal_L37_b2.safetensors")
    case = {"embed_dim": 8, "ndim": 4, "bidirectional": False, "truncation": None}
    state = {name[6:]: tensor for name, tensor in tensors.items() if name.startswith("state/")}
    layer = layer_from_reference({"kind": "standalone_ema_steps", "ctor": case}, state)
    x = tensors["input"].transpose(0, 1)
    torch.testing.assert_close(layer(x), tensors["output_conv"].transpose(0, 1), rtol=0, atol=1e-9)
    memory = layer.init_state(2)
    steps = [
        layer.step(x[:, a:b], memory) for a, b in ((0, 20), (20, 30), *((t, t + 1) for t in range(30, 37)))
    ]
    expected = tensors["stepped_out"].transpose(0, 1) + state["omega"] * x
    torch.testing.assert_close(torch.cat(steps, 1), expected, rtol=0, atol=1e-9)


CAUSAL = [name for name in EQUAL if "causal" in name and name.startswith("layer")]


@pytest.mark.parametrize("name", CAUSAL[::3])
def test_imported_layers_decode(name):
    case = compare.load(name)
    layer, x = case.build().eval(), case.batch_first("input")
    state = layer.init_state(len(x))
    steps = [layer.step(chunk, state) for chunk in x.split(5, 1)]
    torch.testing.assert_close(torch.cat(steps, 1), layer(x), rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", [name for name in ALL if not compare.load(name).is_layer])
def test_imported_models_survive_a_folder(name, tmp_path):
    case = compare.load(name)
    model = case.build(torch.float32).eval()
    save_model(model, tmp_path)
    again = load_model(tmp_path)
    x = case.tensors["input"].float() if case.tensors["input"].is_floating_point() else case.tensors["input"]
    torch.testing.assert_close(compare.run(case, again, x), compare.run(case, model, x), rtol=0, atol=0)
    assert again.spec == model.spec


LAYER = "layer_softmax_local_bi_w8_L37_b1_r50_bn_pre_trunc16"
LANGUAGE_MODEL = "lm_softmax_rotary_ln_pre_causal_w4_L37_b2"


def _layer(changes=None, **ctor):
    case = compare.load(LAYER)
    state = {**case.group("state"), **(changes or {})}
    state = {name: tensor for name, tensor in state.items() if tensor is not None}
    return layer_from_reference({"kind": case.kind, "ctor": {**case.config["ctor"], **ctor}}, state)


def test_a_layer_says_what_it_is():
    layer = _layer()
    assert not layer.training
    assert next(layer.parameters()).dtype == torch.float64
    assert layer.spec.kind == "residual"
    assert layer.spec.branches[1].modules[0].position.kind == "rank"
    assert not layer.causal
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    _layer()
    assert torch.rand(1) == expected, "importing draws no random numbers"


@pytest.mark.parametrize(
    ("changes", "ctor", "message"),
    [
        ({"surplus": torch.zeros(2)}, {}, "does not explain: surplus"),
        ({"gamma": None}, {}, "lacks: gamma"),
        ({"gamma": torch.zeros(3, 8).double()}, {}, r"'gamma' gives '.*gamma' the shape \(3, 8\).*\(2, 8\)"),
        ({"ssm.alpha": torch.zeros(5).double()}, {}, "'ssm.alpha' shape"),
        (
            {"gamma": torch.zeros(2, 8).long()},
            {},
            "published entry 'gamma' is int64, which its model does not",
        ),
        ({"gamma": torch.zeros(2, 8) / 0}, {}, "published entry 'gamma' is not finite at 16 of 16 places"),
        ({}, {"window_size": 4}, r"rel_pos_bias' has shape \(47,\), but a window of 4 makes \(23,\)"),
        ({}, {"window": 8}, "unknown published arguments: window"),
        ({}, {"attention_activation": "laplace"}, "'laplace': the standalone file has softmax and relu2"),
        ({}, {"norm_type": "rmsnorm"}, "'rmsnorm': the standalone file has layernorm and batchnorm"),
        ({}, {"rel_pos_bias": "t5"}, "'t5': the standalone file has simple and rotary"),
        ({}, {"window_size": -1}, "at least 1"),
        (
            {},
            {"norm_type": "layernorm"},
            "does not explain: norm.norm.num_batches_tracked, norm.norm.running_m",
        ),
    ],
)
def test_nothing_passes_in_silence(changes, ctor, message):
    with pytest.raises(ValueError, match=message):
        _layer(changes, **ctor)


@pytest.mark.parametrize(
    ("kind", "ctor", "message"),
    [
        ("fairseq_unit", {"activation": "tanh"}, "unknown activation_fn 'tanh'"),
        ("fairseq_unit", {"rel_pos_bias": "learned"}, "unknown rel_pos_bias 'learned'"),
        ("fairseq_unit", {"norm_type": "groupnorm"}, "unknown norm_type 'groupnorm'"),
        ("fairseq_unit", {"chunk_size": 0}, "chunk_size 0"),
        ("fairseq_unit", {"s4d": True}, "unknown published arguments: s4d"),
        ("seqboat", {}, "unknown kind 'seqboat' of a published layer"),
    ],
)
def test_units_that_do_not_exist(kind, ctor, message):
    sizes = {"embed_dim": 8, "zdim": 8, "hdim": 16, "ndim": 4}
    with pytest.raises(ValueError, match=message):
        layer_from_reference({"kind": kind, "ctor": {**sizes, **ctor}}, {})


def test_a_size_that_is_not_given():
    with pytest.raises(ValueError, match="lack 'zdim'"):
        layer_from_reference({"kind": "fairseq_unit", "ctor": {"embed_dim": 8, "ndim": 2}}, {})


def test_tied_weights_must_be_equal():
    case = compare.load(LANGUAGE_MODEL)
    state = case.group("state")
    state["decoder.output_projection.weight"] = state["decoder.output_projection.weight"] + 1
    with pytest.raises(
        ValueError, match=r"embed_tokens.weight' and 'decoder.output_projection.weight' are tied"
    ):
        model_from_reference(case.config, state)


def test_other_frequencies_are_refused():
    case = compare.load("sc_raw_relu2_local_bn_pre_w4_L64_b2")
    state = case.group("state")
    state["encoder.encoder.pos_emb.inv_freq"] = state["encoder.encoder.pos_emb.inv_freq"] * 2
    with pytest.raises(ValueError, match=r"pos_emb.inv_freq' holds frequencies other than 10000"):
        model_from_reference(case.config, state)


def test_feature_dropout_warns_where_it_matters():
    case = compare.load("option_dropouts_eval")
    with pytest.warns(UserWarning, match="feature_dropout"):
        case.build()


_COMMON = (
    "--activation-fn silu --n-dim 16 --encoder-ffn-embed-dim -1 --sen-rep-type mp --attention-dropout 0.0"
)
_TEXT = f"--input-type text --attention-activation-fn softmax --chunk-size 128 --dropout 0.1 {_COMMON}"
_IMAGE = (
    "--input-type image --attention-activation-fn relu2 --dropout 0.0 --encoder-normalize-before --add-apos "
    + _COMMON
)
OFFICIAL = [
    (408_676, "fairseq_lra", 24, f"-a slag_lra_listop --encoder-layers 6 --norm-type layernorm {_TEXT}"),
    (
        633_356,
        "fairseq_lra",
        264,
        f"-a slag_lra_imdb --encoder-layers 4 --norm-type scalenorm --local-pos {_TEXT}",
    ),
    (
        1_058_090,
        "fairseq_lra",
        264,
        f"-a slag_lra_aan --encoder-layers 6 --norm-type scalenorm --use-nli {_TEXT}",
    ),
    (
        1_810_001,
        "fairseq_lra",
        None,
        f"-a slag_lra_cifar10 --chunk-size 128 --norm-type batchnorm --init-temp-scale 0.4 {_IMAGE}",
    ),
    (892_301, "fairseq_lra", None, f"-a slag_lra_pf32 --chunk-size 128 --init-temp-scale 1.0 {_IMAGE}"),
    (
        729_097,
        "fairseq_lra",
        None,
        f"-a slag_lra_pf128_base --encoder-layers 4 --chunk-size 256 --norm-type syncbatchnorm {_IMAGE}",
    ),
    (1_076_621, "fairseq_lra", None, f"-a slag_lra_pf128_base --chunk-size 256 {_IMAGE}"),
    (
        298_841,
        "fairseq_sc",
        None,
        "-a slag_sc_raw_base --attention-activation-fn relu2 --chunk-size 128 --truncation-length 4000 "
        f"--local-pos {_COMMON}",
    ),
    (
        39_074_490,
        "fairseq_lm",
        208,
        "-a slag_lm_enwik8_base_v2 --decoder-chunk-size 1024 --normalize-before --no-affine-final-norm "
        "--rel-pos-bias rotary --share-decoder-input-output-embed --dropout 0.15 --decoder-ffn-embed-dim -1",
    ),
]


@pytest.mark.parametrize(("parameters", "kind", "vocab", "line"), OFFICIAL)
def test_official_command_lines_have_the_published_parameters(parameters, kind, vocab, line):
    part = model_part({"kind": kind, "ctor": {"argv": ["data", *line.split()], "vocab": vocab}}, {})
    count = parameters_published(part.spec)
    assert count.parameters == parameters
    assert ("rank biases" in count.reason) == (count.parameters != count.here) == ("--local-pos" in line)
    assert json.loads(part.spec.model_dump_json())["kind"] == "sequence_model"
