import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoTokenizer

from sma.transformers import file_tokenizer


def write(folder, *words):
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token=words[0]))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder / "tokenizer.json"


@pytest.mark.parametrize(
    ("words", "end"), [(("?", "a", "<eos>"), 2), (("?", "a", "b"), 3)], ids=["own", "new"]
)
def test_the_end_of_a_text_is_a_token_of_the_file_or_a_new_one(tmp_path, words, end):
    tokenizer = file_tokenizer(write(tmp_path, *words), end=end)
    tokenizer.save_pretrained(tmp_path / "saved")
    for one in (tokenizer, AutoTokenizer.from_pretrained(tmp_path / "saved")):
        assert (one.eos_token_id, one.bos_token_id, one.pad_token_id) == (end, end, end)
        batch = one(["a a", "a"], padding=True)
        assert batch.input_ids == [[1, 1], [end, 1]]
        assert batch.attention_mask == [[1, 1], [0, 1]]
        assert one.decode([1, end, 1], skip_special_tokens=True) == "a a"


def test_a_token_that_there_is_not_is_refused(tmp_path):
    with pytest.raises(ValueError, match="end=7 is not a token of"):
        file_tokenizer(write(tmp_path, "?", "a"), end=7)


def test_a_file_that_is_not_a_tokenizer_is_named(tmp_path):
    (tmp_path / "text.json").write_text("text")
    for name in ("text.json", "nowhere.json"):
        with pytest.raises(ValueError, match=rf"{name} is not a tokenizer \(.+\); name a tokenizer.json"):
            file_tokenizer(tmp_path / name, end=0)
