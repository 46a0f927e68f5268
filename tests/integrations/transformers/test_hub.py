import json
import os
import subprocess
import sys
from pathlib import Path

import huggingface_hub
import pytest
import torch
from fake_hub import fake_hub
from torch_geometric.data import Data

from sma.architectures import graph_network
from sma.transformers import ByteTokenizer, CardFacts, SMAForCausalLM, hub

ROOT = Path(__file__).parents[3]


@pytest.fixture
def server(monkeypatch, tmp_path):
    """A hub on this machine, in the place of the real one."""
    with fake_hub() as server:
        constants = huggingface_hub.constants
        monkeypatch.setattr(constants, "ENDPOINT", server.endpoint)
        url = server.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url)
        monkeypatch.setenv("HF_TOKEN", "hf_of_a_test")
        yield server


def test_a_plain_model_of_any_kind_goes_to_the_hub_and_back(server, tmp_path):
    torch.manual_seed(0)
    model = graph_network(d_model=8, n_layers=2, d_input=3, n_classes=4).build().eval()
    graph = Data(x=torch.randn(4, 3), edge_index=torch.tensor([[0, 1, 2], [1, 2, 3]]))
    hub.push(model, "me/graphs", commit_message="first")
    assert set(server.repositories["me/graphs"]) == {"spec.json", "model.safetensors", "README.md"}
    assert server.commits["me/graphs"] == ["first"]
    loaded = hub.load("me/graphs", cache_dir=tmp_path)
    assert loaded.spec == model.spec
    assert torch.equal(loaded(graph), model(graph))


def test_a_card_on_the_hub_stays_unless_there_are_facts(server, plain):
    hub.push(plain, "me/bytes")
    server.repositories["me/bytes"]["README.md"] = b"by hand"
    hub.push(plain, "me/bytes")
    assert server.repositories["me/bytes"]["README.md"] == b"by hand"
    hub.push(plain, "me/bytes", card=CardFacts(title="books"))
    assert b"Trained on books" in server.repositories["me/bytes"]["README.md"]


LOAD = """
import json, sys, torch
from transformers import AutoModelForCausalLM, AutoTokenizer
model = AutoModelForCausalLM.from_pretrained("me/bytes", trust_remote_code=True)
tokenizer = AutoTokenizer.from_pretrained("me/bytes", trust_remote_code=True)
tokens = tokenizer("def ", return_tensors="pt")
text = model.generate(**tokens, max_new_tokens=5, do_sample=False, eos_token_id=None)
print(json.dumps([type(model).__module__, type(tokenizer).__module__, text[0].tolist()]))
"""


def test_a_model_of_transformers_goes_to_the_hub_and_back(server, causal, tmp_path):
    """Also into a program that imports transformers alone."""
    info = causal.push_to_hub("me/bytes", card=CardFacts(title="books"), private=True)
    assert info.commit_url.startswith(server.endpoint)
    files = server.repositories["me/bytes"]
    assert set(files) == {
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "README.md",
        "sma_auto.py",
    }
    assert b"Trained on books" in files["README.md"]
    (tmp_path / "tokenizer").mkdir()
    ByteTokenizer().save_pretrained(tmp_path / "tokenizer")
    for path in (tmp_path / "tokenizer").iterdir():
        files[path.name] = path.read_bytes()
    expected = causal.generate(
        torch.tensor([[0, *b"def "]]), max_new_tokens=5, do_sample=False, eos_token_id=None
    )
    environment = {
        **os.environ,
        "HF_ENDPOINT": server.endpoint,
        "HF_HOME": str(tmp_path / "home"),
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        [sys.executable, "-c", LOAD],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    model, tokenizer, text = json.loads(done.stdout.splitlines()[-1])
    assert (model, tokenizer) == ("sma.transformers.models.causal_lm", "sma.transformers.byte_tokenizer")
    assert text == expected[0].tolist()


def test_folders_need_no_hub(plain, tokens, tmp_path):
    hub.save(plain, tmp_path, card=CardFacts(title="books"))
    assert "hub.load" in (tmp_path / "README.md").read_text()
    assert torch.equal(hub.load(tmp_path)(tokens), plain(tokens))


def test_what_is_saved_is_checked(plain, tmp_path):
    with torch.no_grad():
        plain.norm.weight[0] = float("nan")
    with pytest.raises(ValueError, match=r"norm.weight is not finite"):
        hub.save(plain, tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"spec.json"):
        hub.load(tmp_path / "empty")


def test_pushing_under_transformers_own_option(server, causal, tmp_path):
    """`save_pretrained(..., push_to_hub=True)`, as transformers' Trainer calls it."""
    causal.save_pretrained(tmp_path / "folder", push_to_hub=True, repo_id="me/option")
    assert {"config.json", "model.safetensors", "sma_auto.py"} <= set(server.repositories["me/option"])
    assert type(causal) is SMAForCausalLM


def test_models_of_transformers_are_told_their_own_way(causal, tmp_path):
    with pytest.raises(ValueError, match=r"SMAForCausalLM; call its own save_pretrained"):
        hub.save(causal, tmp_path)
    causal.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"config.json of transformers; load it with an Auto class"):
        hub.load(tmp_path)
