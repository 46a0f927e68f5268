import os
import resource

import pytest
import torch
from safetensors.torch import save_file

from sma.architectures import load_model, load_state, save_model, save_state, seqboat
from sma.architectures.files.folders import SPEC_FILE, WEIGHTS_FILE


@pytest.fixture
def model():
    torch.manual_seed(0)
    return seqboat(vocab_size=11, d_model=8, n_layers=2, d_qk=4, d_state=2, window=3).build().eval()


def test_save_and_load_give_the_same_function(model, tmp_path):
    save_model(model, tmp_path / "model")
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == [WEIGHTS_FILE, SPEC_FILE]
    again = load_model(tmp_path / "model")
    tokens = torch.randint(11, (2, 9))
    assert torch.equal(again(tokens), model(tokens))
    assert again.head.weight is again.embedding.weight


def test_files_are_as_readable_as_any_other(model, tmp_path):
    (tmp_path / "other").touch()
    save_model(model, tmp_path)
    assert len({path.stat().st_mode for path in tmp_path.iterdir()}) == 1


def test_saving_again_replaces(model, tmp_path):
    save_model(model, tmp_path)
    with torch.no_grad():
        model.embedding.weight.zero_()
    save_model(model, tmp_path)
    assert not load_model(tmp_path).embedding.weight.any()


def test_truncated_weights_are_named(model, tmp_path):
    save_model(model, tmp_path)
    path = tmp_path / WEIGHTS_FILE
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"model\.safetensors is truncated"):
        load_model(tmp_path)


def test_weights_of_another_spec_are_named(model, tmp_path):
    save_model(model, tmp_path)
    other = seqboat(vocab_size=12, d_model=8, n_layers=2, d_qk=4, d_state=2, window=3)
    (tmp_path / SPEC_FILE).write_text(other.model_dump_json())
    with pytest.raises(
        ValueError, match=r"another spec: embedding\.weight \(\(11, 8\) in the file, \(12, 8\)"
    ):
        load_model(tmp_path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=SPEC_FILE):
        load_model(tmp_path)


def decoder(**options):
    torch.manual_seed(0)
    return seqboat(
        vocab_size=11, **{"d_model": 8, "n_layers": 2, "window": 3, "truncation": 4, **options}
    ).build()


@torch.no_grad()
def test_decoding_goes_on_from_a_file(tmp_path):
    model, tokens = decoder(), torch.randint(11, (2, 9))
    expected = model(tokens)[:, -1]
    _, state = model.prefill(tokens[:, :-1])
    save_state(state, tmp_path / "state.safetensors")
    resumed = load_state(model, tmp_path / "state.safetensors")
    torch.testing.assert_close(model.step(tokens[:, -1], resumed), expected)


def test_the_state_of_another_model_is_refused(tmp_path):
    path = tmp_path / "state.safetensors"
    save_state(decoder().init_state(2), path)
    with pytest.raises(
        ValueError, match=r"holds the state of another model: blocks.*keys \(\(2, 4, 64\) in the file"
    ):
        load_state(decoder(window=5), path)
    with pytest.raises(ValueError, match=r"holds the state of another model: blocks\.2.*missing in the file"):
        load_state(decoder(n_layers=3), path)


def test_a_truncated_or_missing_state_is_an_error(tmp_path):
    path = tmp_path / "state.safetensors"
    save_state(decoder().init_state(2), path)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ValueError, match="is truncated"):
        load_state(decoder(), path)
    with pytest.raises(FileNotFoundError, match="there is no file"):
        load_state(decoder(), tmp_path / "none")


def test_the_dtype_is_kept(model, tmp_path):
    save_model(model.double(), tmp_path)
    assert load_model(tmp_path).embedding.weight.dtype == torch.float64


def files_in(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_flip_in_the_spec_is_an_error_of_one_line_or_harmless(model, tmp_path):
    save_model(model, tmp_path)
    path = tmp_path / SPEC_FILE
    content, errors = path.read_bytes(), []
    for place in range(0, len(content), 11):
        flipped = bytearray(content)
        flipped[place] ^= 1 << place % 7
        path.write_bytes(flipped)
        try:
            load_model(tmp_path)
        except ValueError as error:
            errors.append(str(error))
    assert len(errors) > 20
    assert all(str(tmp_path) in error and "\n" not in error for error in errors)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "not valid YAML or JSON"),
        ("[" * 100_000, "nested too deep"),
        ('{"a": ' * 100_000, "nested too deep"),
        ("null", "holds nothing instead of a mapping"),
        ("{}", "d_model: is missing; set it"),
        ('{"kind": 3}', "kind=3: must be the name of a kind"),
        (
            '{"kind": "sequence_model", "format_version": "1"}',
            "format_version='1': Input should be a valid int",
        ),
        ('{"kind": "sequence_model", "d_model": NaN}', "d_model=nan: "),
        ('{"kind": "sequence_model", "d_model": 1' + "0" * 5000 + "}", "not valid YAML or JSON"),
        ('{"kind": "sequence_model", "blocks": {"0": 1}}', "blocks: "),
    ],
)
def test_a_wrong_spec_is_an_error_of_one_line(model, tmp_path, content, message):
    save_model(model, tmp_path)
    (tmp_path / SPEC_FILE).write_text(content)
    with pytest.raises(ValueError, match=rf"spec\.json.*{message}") as error:
        load_model(tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", [SPEC_FILE, WEIGHTS_FILE])
@pytest.mark.parametrize(
    ("put", "message"),
    [
        (lambda path: path.mkdir(), "is a folder"),
        (os.mkfifo, "is a pipe"),
        (lambda path: path.symlink_to("/dev/zero"), "is a device"),
        (lambda path: path.symlink_to(path), "Too many levels"),
        (lambda path: path.write_bytes(bytes(range(256))), "not"),
    ],
)
def test_what_is_not_such_a_file_is_an_error_of_one_line(model, tmp_path, name, put, message):
    save_model(model, tmp_path)
    (tmp_path / name).unlink()
    put(tmp_path / name)
    with pytest.raises(ValueError, match=rf"{name}.*{message}") as error:
        load_model(tmp_path)
    assert "\n" not in str(error.value)


def test_a_missing_folder_is_named(model, tmp_path):
    (tmp_path / "file").touch()
    for folder in (tmp_path / "none", tmp_path / "file"):
        with pytest.raises(FileNotFoundError, match=rf"there is no file {folder}/{SPEC_FILE}"):
            load_model(folder)
    with pytest.raises(OSError, match="exists"):
        save_model(model, tmp_path / "file")


def test_a_huge_spec_takes_no_memory_before_the_weights_are_compared(model, tmp_path):
    save_model(model, tmp_path)
    huge = seqboat(vocab_size=2**24, d_model=2**14, n_layers=2)  # 10^12 bytes
    (tmp_path / SPEC_FILE).write_text(huge.model_dump_json())
    with pytest.raises(ValueError, match=r"another spec: .*16384.* in the model"):
        load_model(tmp_path)


def test_a_state_of_many_rows_takes_no_memory_before_it_is_compared(tmp_path):
    path = tmp_path / "state.safetensors"
    state = dict(decoder().init_state(1).tensors())
    empty = {name: tensor[:0] for name, tensor in state.items()}
    for position in (torch.zeros(10_000_000, dtype=torch.long), torch.tensor(1), torch.zeros(0, 2)):
        for others in ({}, empty):
            save_file({**others, "position": position}, path)
            with pytest.raises(ValueError, match=r"holds the state of another model: "):
                load_state(decoder(), path)


def test_a_state_of_other_numbers_is_refused(tmp_path):
    path = tmp_path / "state.safetensors"
    state = dict(decoder().init_state(2).tensors())
    hidden = next(name for name in state if name.endswith("hidden"))
    for name, dtype in (("position", torch.float32), ("position", torch.int32), (hidden, torch.int64)):
        save_file({**state, name: state[name].to(dtype)}, path)
        with pytest.raises(ValueError, match=rf"state\.safetensors: {name} is {str(dtype)[6:]}"):
            load_state(decoder(), path)


def test_a_state_of_impossible_values_is_refused(tmp_path):
    path = tmp_path / "state.safetensors"
    state = dict(decoder().init_state(2).tensors())
    hidden = next(name for name in state if name.endswith("hidden"))
    for name, value, message in (
        (hidden, torch.nan, "is not finite at 1 of"),
        (hidden, torch.inf, "is not finite at 1 of"),
        ("position", -7, "is -7 somewhere, and counts, so it cannot be negative"),
    ):
        wrong = state[name].clone()
        wrong.view(-1)[1] = value
        save_file({**state, name: wrong}, path)
        with pytest.raises(ValueError, match=rf"state\.safetensors: {name} {message}"):
            load_state(decoder(), path)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_state_comes_back_bit_by_bit(tmp_path, dtype):
    model = decoder().to(dtype)
    _, state = model.prefill(torch.randint(11, (3, 7)))
    save_state(state, tmp_path / "state.safetensors")
    loaded = load_state(model, tmp_path / "state.safetensors")
    for (name, expected), (again, tensor) in zip(state.tensors(), loaded.tensors(), strict=True):
        assert name == again
        assert tensor.dtype == expected.dtype
        assert torch.equal(tensor, expected)


def test_no_spec_beside_other_weights_is_ever_left(model, tmp_path, monkeypatch):
    """A writer that is killed between its two renames leaves no folder that loads as something else."""
    save_model(model, tmp_path)
    replace, done = os.replace, []

    def killed(source, target):
        if done:
            raise KeyboardInterrupt
        done.append(replace(source, target))

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        save_model(decoder(), tmp_path)
    with pytest.raises(FileNotFoundError, match=SPEC_FILE):
        load_model(tmp_path)


def test_a_full_disk_leaves_the_older_model(model, tmp_path):
    save_model(model, tmp_path)
    before = files_in(tmp_path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4_000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large") as error:
            save_model(decoder(d_model=32), tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert error.value.filename == str(tmp_path / WEIGHTS_FILE)
    assert files_in(tmp_path) == before
