import pytest
import torch

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
