"""Folders that `sma sparsify` wrote: known as such, read again, and named where they are damaged."""

import pytest
import torch
from transformers import AutoModel

from sma.training import RunError
from sma.training.sparsification.sparsified_folder import is_sparsified, load_sparsified, read_origin

from .conftest import write_sparsified


def test_a_folder_is_read_again(bert_folder, data, tmp_path):
    folder = write_sparsified(tmp_path / "sparse", bert_folder, data, parts=("layer",), rate=0.25)
    assert is_sparsified(folder)
    assert not is_sparsified(folder / "model")
    assert not is_sparsified(bert_folder)
    origin = read_origin(folder)
    assert (origin.model, origin.data, origin.length) == (str(bert_folder), [data], 12)
    assert (origin.spec["parts"], origin.spec["rate"]) == (["layer"], 0.25)
    model, tokenizer = load_sparsified(folder)
    assert type(model).__name__ == "BertModel"
    assert not model.training
    tokens = torch.tensor([tokenizer("the cat sat")["input_ids"]])
    with torch.no_grad():
        found, wanted = (each(tokens)[0] for each in (model, AutoModel.from_pretrained(folder / "model")))
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("text", ["{", "[]", '{"model": "a", "data": []}'])
def test_a_damaged_report_is_named(tmp_path, text):
    (tmp_path / "report.json").write_text(text)
    with pytest.raises(RunError, match=r"report\.json is damaged .* run sma sparsify again"):
        read_origin(tmp_path)
