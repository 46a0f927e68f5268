"""Saved weights can be loaded, or nothing is written; loaded weights can be used."""

import copy
import io
import re
import warnings
from typing import Literal

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.utils import parametrizations, prune

import sma.spec.registry
from sma import register
from sma.architectures import load_model, parse_spec, save_model, seqboat
from sma.architectures.files.folders import WEIGHTS_FILE, load_weights
from sma.architectures.files.weights import check_state_value
from sma.architectures.specs.families import LayerSpec

SPEC = seqboat(vocab_size=20, d_model=16, n_layers=2, window=4, d_qk=8, norm={"kind": "batch_norm"})
LINEAR = "blocks.0.branches.0.module"


def make():
    torch.manual_seed(0)
    model = SPEC.build().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return model


def tokens():
    return torch.randint(20, (2, 12), generator=torch.Generator().manual_seed(1))


def compiled(model):
    return torch.compile(model)


def compiled_in_place(model):
    model.compile()
    return model


def with_a_compiled_part(model):
    model.blocks[0] = torch.compile(model.blocks[0])
    model.blocks[1].branches[0] = torch.compile(model.blocks[1].branches[0])
    return model


def with_a_checkpointed_part(model):
    from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

    model.blocks[0].branches[0] = checkpoint_wrapper(model.blocks[0].branches[0])
    return model


def pruned_for_good(model):
    prune.l1_unstructured(model.get_submodule(LINEAR), "weight", 0.3)
    prune.remove(model.get_submodule(LINEAR), "weight")
    return model


def with_shared_memory(model):
    first, second = (block.branches[0].module for block in model.blocks)
    second.weight.data = first.weight.data
    return model


def transposed(model):
    linear = model.get_submodule(LINEAR)
    linear.weight.data = linear.weight.data.t()
    return model


def without_gradients(model):
    return model.requires_grad_(False)


@pytest.mark.parametrize(
    "change",
    [
        compiled,
        compiled_in_place,
        with_a_compiled_part,
        with_a_checkpointed_part,
        pruned_for_good,
        with_shared_memory,
        transposed,
        without_gradients,
    ],
)
def test_what_is_saved_is_loaded(tmp_path, change):
    expected = change(make())
    save_model(expected, tmp_path)
    loaded = load_model(tmp_path)
    plain = getattr(expected, "_orig_mod", expected)
    for name, tensor in loaded.state_dict().items():
        own = {n.replace("_orig_mod.", ""): t for n, t in plain.state_dict().items()}[name]
        assert torch.equal(own, tensor)
    with_a_compiled_part(loaded)
    load_weights(loaded, tmp_path / WEIGHTS_FILE)


def pruned(model):
    prune.l1_unstructured(model.get_submodule(LINEAR), "weight", 0.3)
    return model


def normed_by_weight(model):
    parametrizations.weight_norm(model.get_submodule(LINEAR))
    return model


def normed_by_weight_as_of_old(model):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        nn.utils.weight_norm(model.get_submodule(LINEAR))
    return model


def normed_by_spectrum(model):
    parametrizations.spectral_norm(model.get_submodule(LINEAR))
    return model


def normed_by_spectrum_as_of_old(model):
    nn.utils.spectral_norm(model.get_submodule(LINEAR))
    return model


def pruned_router(model):
    prune.random_unstructured(model.blocks[1].branches[1].router.projection, "bias", 0.5)
    return model


def quantised(model):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.ao.quantization.quantize_dynamic(model, {nn.Linear})


def adapted(model):
    linear = model.get_submodule(LINEAR)

    class Adapter(nn.Linear):
        pass

    linear.__class__ = Adapter
    return model


def with_a_part_more(model):
    model.extra = nn.ReLU()
    return model


def with_a_part_less(model):
    model.norm = None
    return model


def with_a_parameter_more(model):
    model.get_submodule(LINEAR).scale = nn.Parameter(torch.ones(1))
    return model


def with_two_tied(model):
    first, second = (block.branches[0].module for block in model.blocks)
    second.weight = first.weight
    return model


def with_another_vocabulary(model):
    model.embedding.weight = nn.Parameter(torch.randn(21, 16))
    return model


def with_another_embedding(model):
    model.embedding = copy.deepcopy(model.embedding)
    return model


def float8(model):
    linear = model.get_submodule(LINEAR)
    linear.weight.data = linear.weight.data.to(torch.float8_e4m3fn)
    return model


def with_infinity(model):
    model.get_submodule(LINEAR).weight.data[1, 2] = float("inf")
    return model


def with_nan_in_a_buffer(model):
    model.blocks[0].pre_norm.running_mean[3] = float("nan")
    return model


def sparse(model):
    linear = model.get_submodule(LINEAR)
    linear.weight = nn.Parameter(linear.weight.data.to_sparse())
    return model


def on_meta(model):
    return model.to("meta")


class Subclass(torch.Tensor):
    pass


def of_a_subclass(model):
    linear = model.get_submodule(LINEAR)
    linear.weight = nn.Parameter(linear.weight.data.as_subclass(Subclass))
    return model


REFUSED = {
    pruned: rf"{LINEAR} computes a weight.*torch\.nn\.utils\.prune\.remove\(model\.{LINEAR}, 'weight'\)",
    pruned_router: r"blocks\.1\.branches\.1\.router\.projection computes.*prune\.remove\(.*, 'bias'\)",
    normed_by_weight: rf"{LINEAR} computes.*parametrize\.remove_parametrizations\(.*, 'weight'\)",
    normed_by_weight_as_of_old: rf"{LINEAR} computes.*utils\.remove_weight_norm\(.*, 'weight'\)",
    normed_by_spectrum: rf"{LINEAR} computes.*remove_parametrizations",
    normed_by_spectrum_as_of_old: rf"{LINEAR} computes.*utils\.remove_spectral_norm\(.*, 'weight'\)",
    quantised: rf"{LINEAR}\..* instead of a tensor; save the model before it is quantised",
    adapted: rf"{LINEAR} is a .*Adapter, but its spec builds a Linear.*before its parts are replaced",
    with_a_part_more: r"extra is a .*ReLU that the model's spec does not build.*merge or remove it",
    with_a_part_less: r"norm is missing in the model, but its spec builds it; put it back",
    with_a_parameter_more: rf"{LINEAR}\.scale is a tensor that the model has, but its spec does not build",
    with_two_tied: r"blocks\.1\.branches\.0\.module\.weight is a tensor that its spec builds, on its own",
    with_another_vocabulary: r"embedding\.weight is \(21, 16\), but the model's spec builds \(20, 16\)",
    with_another_embedding: r"head shares the weights of an embedding which is not in the model",
    float8: rf"{LINEAR}\.weight is float8_e4m3fn, which its model does not compute in; convert it to float16",
    with_infinity: rf"{LINEAR}\.weight is not finite at 1 of 256 places; take weights from before",
    with_nan_in_a_buffer: r"blocks\.0\.pre_norm\.running_mean is not finite at 1 of 16 places",
    sparse: rf"{LINEAR}\.weight is stored as torch\.sparse_coo; make it dense by to_dense\(\)",
    on_meta: r"is on the meta device and has no values; load weights first",
    of_a_subclass: rf"{LINEAR}\.weight is a Subclass, not a plain tensor; save the model before",
    nn.parallel.DataParallel: r"got DataParallel; of a wrapped one pass what is inside, such as",
}


@pytest.mark.parametrize("change", REFUSED)
def test_what_could_not_be_loaded_is_refused_before_anything_is_written(tmp_path, change):
    save_model(make(), tmp_path / "before")
    before = {path.name: path.read_bytes() for path in (tmp_path / "before").iterdir()}
    model = change(make())
    for folder in ("before", "new"):
        with pytest.raises(ValueError, match=REFUSED[change]) as error:
            save_model(model, tmp_path / folder)
        assert "\n" not in str(error.value)
    assert {path.name: path.read_bytes() for path in (tmp_path / "before").iterdir()} == before
    assert not (tmp_path / "new").exists()


def reals(tensors, change):
    return {name: change(x) if x.is_floating_point() else x for name, x in tensors.items()}


def unlike(tensor, value):
    return tensor.flatten().index_fill(0, torch.tensor([3 % tensor.numel()]), value).view_as(tensor)


WRONG = {
    "int32 bits": (lambda x: x.view(torch.int32), "is int32, which its model does not compute in; convert"),
    "int64": (lambda x: x.long(), "is int64"),
    "bool": (lambda x: x > 0, "is bool"),
    "uint8": (lambda x: x.to(torch.uint8), "is uint8"),
    "complex64": (lambda x: x.to(torch.complex64), "is complex64.*convert it to float16 or"),
    "float8": (lambda x: x.to(torch.float8_e5m2), "is float8_e5m2"),
    "NaN": (lambda x: unlike(x, float("nan")), r"is not finite at 1 of \d+ places"),
    "infinity": (lambda x: unlike(x, -float("inf")), r"is not finite at 1 of \d+ places"),
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("one", [LINEAR + ".weight", "blocks.0.pre_norm.running_var", None])
def test_wrong_numbers_are_refused_by_name(tmp_path, name, one):
    change, message = WRONG[name]
    model = make()
    save_model(model, tmp_path)
    path = tmp_path / WEIGHTS_FILE
    tensors = load_file(path)
    save_file(reals(tensors, change) if one is None else {**tensors, one: change(tensors[one])}, path)
    message = rf"{WEIGHTS_FILE}: {re.escape(one or '')}.*{message}"
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match=message):
        load_model(tmp_path)
    with pytest.raises(ValueError, match=message):
        load_weights(model, path)
    assert all(torch.equal(before[name], x) for name, x in model.state_dict().items())


@pytest.mark.parametrize("dtype", [torch.float32, torch.int32, torch.bool])
def test_counts_keep_their_dtype(tmp_path, dtype):
    save_model(make(), tmp_path)
    name, path = "blocks.0.pre_norm.num_batches_tracked", tmp_path / WEIGHTS_FILE
    save_file({**load_file(path), name: torch.ones((), dtype=dtype)}, path)
    with pytest.raises(ValueError, match=rf"{name} is {str(dtype)[6:]}, .* convert it to int64"):
        load_model(tmp_path)


def routers_in_float32(model):
    model.bfloat16()
    for module in model.modules():
        if isinstance(module, sma.Router):
            module.float()


def buffers_in_float64(model):
    for name, buffer in model.named_buffers():
        if name.endswith("running_var"):
            buffer.data = buffer.data.double()


def one_weight_in_float16(model):
    model.get_submodule(LINEAR).half()


def all_in_float64(model):
    model.double()


@pytest.mark.parametrize(
    "change", [routers_in_float32, buffers_in_float64, one_weight_in_float16, all_in_float64]
)
def test_every_tensor_keeps_its_dtype(tmp_path, change):
    model = make()
    change(model)
    save_model(model, tmp_path)
    loaded = load_model(tmp_path)
    again = SPEC.build()
    load_weights(again, tmp_path / WEIGHTS_FILE)
    with torch.device("meta"):
        empty = SPEC.build()
    load_weights(empty, tmp_path / WEIGHTS_FILE)
    for other in (loaded, again, empty):
        assert other.head.weight is other.embedding.weight
        for name, tensor in model.state_dict().items():
            assert other.state_dict()[name].dtype == tensor.dtype
            assert torch.equal(other.state_dict()[name], tensor)


def from_meta():
    with torch.device("meta"):
        return SPEC.build()


def emptied(source):
    model = from_meta().to_empty(device="cpu")
    model.load_state_dict(source.state_dict())
    return model


def assigned(source):
    model = from_meta()
    model.load_state_dict({name: x.clone() for name, x in source.state_dict().items()}, assign=True)
    return model


def copied(source):
    return copy.deepcopy(source)


def pickled(source):
    buffer = io.BytesIO()
    torch.save(source, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=False)


def swapped(source):
    torch.__future__.set_swap_module_params_on_conversion(True)
    try:
        return copy.deepcopy(source).double().float()
    finally:
        torch.__future__.set_swap_module_params_on_conversion(False)


def overwritten(source):
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    try:
        return copy.deepcopy(source).double().float()
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(False)


def replaced(source):
    model = copy.deepcopy(source)
    model.embedding.weight = nn.Parameter(source.embedding.weight.detach().clone())
    return model


@pytest.mark.parametrize("way", [emptied, assigned, copied, pickled, swapped, overwritten, replaced])
def test_tied_weights_stay_tied(tmp_path, way):
    source = make()
    model = way(source).eval()
    assert model.head.weight is model.embedding.weight
    assert torch.equal(model(tokens()), source(tokens()))
    with torch.no_grad():
        model.embedding.weight += 1
    assert not torch.allclose(model(tokens()), source(tokens()))
    assert torch.equal(model.head.weight, source.embedding.weight + 1)
    save_model(model, tmp_path)
    source.load_state_dict(load_file(tmp_path / WEIGHTS_FILE))  # strict: what is saved is all there is


def test_parts_that_a_spec_parametrizes_are_saved_and_loaded(tmp_path, monkeypatch):
    monkeypatch.setattr(sma.spec.registry, "_registered", dict(sma.spec.registry._registered))

    @register
    class NormedSpec(LayerSpec):
        kind: Literal["normed_by_weight"] = "normed_by_weight"

        def build(self, d_model):
            return sma.PerElement(parametrizations.weight_norm(nn.Linear(d_model, d_model)))

    values = SPEC.model_dump(mode="json")
    values["blocks"][0]["branches"][0] = {"kind": "normed_by_weight"}
    model = parse_spec(values).build().eval()
    save_model(model, tmp_path)
    loaded = load_model(tmp_path)
    assert torch.equal(loaded(tokens()), model(tokens()))
    nn.utils.parametrize.remove_parametrizations(model.get_submodule(LINEAR), "weight")
    with pytest.raises(ValueError, match=rf"{LINEAR} is a .*Linear, but its spec builds"):
        save_model(model, tmp_path)


def test_values_of_states_may_be_what_they_are_in_a_fresh_one():
    """Such as the running maximum of another package's part, or a place that stands for nothing."""
    check_state_value("a", torch.tensor([-torch.inf, 2.0]), torch.tensor([-torch.inf, -torch.inf]))
    check_state_value("a", torch.tensor([-1, 2]), torch.tensor([-1, -1]))
    with pytest.raises(ValueError, match="a is not finite at 1 of 2 places"):
        check_state_value("a", torch.tensor([torch.nan, 2.0]), torch.tensor([-torch.inf, -torch.inf]))
