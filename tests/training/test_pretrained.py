"""Folders and repositories of models of transformers that an argument names."""

import logging

import pytest

from sma.training.pretrained import is_repository, load_pretrained

transformers = pytest.importorskip("transformers")
WHAT = "give a folder that save_pretrained wrote, or a model of the Hub as owner/name"


class Asked:
    """Stands for a class of transformers, and keeps how it was asked."""

    calls = ()

    @classmethod
    def from_pretrained(cls, name, **options):
        cls.calls.append((name, options))
        raise OSError(
            f"{name} is not a local folder and is not a valid model identifier listed on "
            "'https://huggingface.co/models'\nIf this is a private repository, log in. "
        )


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Asked, "calls", [])
    return tmp_path


@pytest.mark.parametrize(
    "name", ["./nothere", "../nothere", "/no/where", "a/b/c", "nothere/", "a b/c", ".hidden", "-a/b", "a./b"]
)
def test_what_cannot_be_a_repository_is_never_asked_for(name):
    assert not is_repository(name)
    with pytest.raises(ValueError, match=f"there is no folder {name}, nor can it be the name .*; {WHAT}"):
        load_pretrained(Asked, name)
    assert Asked.calls == []


def test_a_repository_is_asked_for():
    assert is_repository("no-such/model-1.5_x")
    with pytest.raises(ValueError, match=WHAT) as caught:
        load_pretrained(Asked, "no-such/model", revision="main")
    assert Asked.calls == [("no-such/model", {"revision": "main"})]
    assert str(caught.value).startswith(
        "there is no folder no-such/model, and no model of that name could be loaded (no-such/model "
        "is not a local folder and is not a valid"
    )
    assert "private" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_name_without_an_owner_is_looked_up_here_alone():
    with pytest.raises(
        ValueError, match="there is no folder gpt2, and no model of that name could be loaded"
    ):
        load_pretrained(Asked, "gpt2")
    assert Asked.calls == [("gpt2", {"local_files_only": True})]


def test_paths_that_hold_no_model(folder):
    (folder / "empty").mkdir()
    (folder / "file").write_text("")
    for name, message in (("empty", "empty is a folder without config.json"), ("./file", "file is a file")):
        with pytest.raises(ValueError, match=f"{message}; {WHAT}"):
            load_pretrained(Asked, name)
    assert Asked.calls == []


def test_a_folder_that_is_there():
    config = transformers.LlamaConfig(
        vocab_size=8, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1
    )
    config.save_pretrained("owner/model")
    assert not is_repository("owner/model")
    assert load_pretrained(transformers.AutoConfig, "owner/model").hidden_size == 8
    reason = r"by LlamaForCausalLM \(Error no file named model.safetensors"
    with pytest.raises(ValueError, match=f"the folder owner/model cannot be loaded {reason}.*{WHAT}"):
        load_pretrained(transformers.LlamaForCausalLM, "owner/model")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"model_type": "llama"', "is not a valid JSON file"),
        ('{"model_type": "llamaxx"}', "has model type `llamaxx`"),
        ("{}", "Unrecognized model in bad"),
    ],
)
def test_a_configuration_that_is_damaged(folder, text, reason):
    (folder / "bad").mkdir()
    (folder / "bad/config.json").write_text(text)
    with pytest.raises(ValueError, match=f"the folder bad cannot be loaded by AutoConfig .*{reason}"):
        load_pretrained(transformers.AutoConfig, "bad")


def test_weights_that_are_damaged(folder):
    config = transformers.LlamaConfig(
        vocab_size=8, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1
    )
    config.save_pretrained("model")
    (folder / "model/model.safetensors").write_bytes(b"0" * 20)
    with pytest.raises(ValueError, match="the folder model cannot be loaded by LlamaForCausalLM"):
        load_pretrained(transformers.LlamaForCausalLM, "model")


def test_an_error_of_the_file_system_is_left_as_it_is(monkeypatch):
    def full(name, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Asked, "from_pretrained", full)
    with pytest.raises(OSError, match="No space left"):
        load_pretrained(Asked, "owner/model")


def test_retries_are_silent(monkeypatch):
    logger = logging.getLogger("huggingface_hub.utils._http")
    before, inside = logger.getEffectiveLevel(), []

    def asked(name, **options):
        inside.append(logger.isEnabledFor(logging.WARNING))
        raise OSError("there is no connection")

    monkeypatch.setattr(Asked, "from_pretrained", asked)
    with pytest.raises(ValueError, match="there is no connection"):
        load_pretrained(Asked, "owner/model")
    assert inside == [False]
    assert logger.getEffectiveLevel() == before
