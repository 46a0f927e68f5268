import pytest
from transformers import AutoTokenizer, TextStreamer, pipeline

from sma.transformers import ByteTokenizer

TEXTS = ["", "def f():\n\treturn 1", "héllo → 🙂", "\x00a\x7f", "<|endoftext|>x", " spaces  kept "]


@pytest.fixture
def tokenizer():
    return ByteTokenizer()


@pytest.mark.parametrize("text", TEXTS)
def test_tokens_are_the_bytes_after_a_zero(tokenizer, text):
    parts = text.split("<|endoftext|>")
    expected = [0, *b"\\0".replace(b"\\0", b"\0").join(part.encode() for part in parts)]
    assert tokenizer(text).input_ids == expected
    assert tokenizer(text, add_special_tokens=False).input_ids == expected[1:]
    assert tokenizer.decode(expected) == "<|endoftext|>" + text.replace("\0", "<|endoftext|>")
    assert tokenizer.decode(expected, skip_special_tokens=True) == text.replace("\0", "").replace(
        "<|endoftext|>", ""
    )


def test_every_byte_has_a_token(tokenizer):
    assert len(tokenizer) == tokenizer.vocab_size == 256
    assert sorted(set(tokenizer.get_vocab().values())) == list(range(256))
    assert tokenizer.convert_ids_to_tokens([65, 255]) == ["A", "\xff"]
    assert tokenizer.decode([0xFF, 65]) == "\ufffdA"
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) == (0, 0, 0)


def test_batches_are_padded_on_the_left(tokenizer):
    batch = tokenizer(["ab", "a"], padding=True, return_tensors="pt")
    assert batch.input_ids.tolist() == [[0, 97, 98], [0, 0, 97]]
    assert batch.attention_mask.tolist() == [[1, 1, 1], [0, 1, 1]]
    assert set(batch) == {"input_ids", "attention_mask"}
    pair = tokenizer("a", "b", return_special_tokens_mask=True)
    assert pair.input_ids == [0, 97, 0, 98]
    assert pair.special_tokens_mask == [1, 0, 1, 0]
    assert tokenizer("a" * 9, truncation=True, max_length=4).input_ids == [0, 97, 97, 97]


def test_a_folder_gives_the_tokenizer_back(causal, tmp_path):
    tokenizer = ByteTokenizer(padding_side="right")
    for folder in (tmp_path, tmp_path / "with_model"):
        tokenizer.save_pretrained(folder)
        loaded = AutoTokenizer.from_pretrained(folder)
        assert type(loaded) is ByteTokenizer
        assert loaded.padding_side == "right"
        assert [loaded(text).input_ids for text in TEXTS] == [tokenizer(text).input_ids for text in TEXTS]
        causal.save_pretrained(tmp_path / "with_model")


def test_a_pipeline_writes_text(causal, tokenizer):
    write = pipeline("text-generation", model=causal, tokenizer=tokenizer)
    options = {"do_sample": False, "max_new_tokens": 6, "return_full_text": False}
    texts = write(["def ", "a"], batch_size=2, **options)
    for prompt, text in zip(["def ", "a"], texts, strict=True):
        tokens = tokenizer(prompt, return_tensors="pt").input_ids
        new = causal.generate(tokens, do_sample=False, max_new_tokens=6)[0, tokens.shape[1] :]
        assert text[0]["generated_text"] == tokenizer.decode(new, skip_special_tokens=True)


def test_text_is_streamed(causal, tokenizer, capsys):
    tokens = tokenizer("a", return_tensors="pt").input_ids
    streamer = TextStreamer(tokenizer, skip_prompt=True)
    text = causal.generate(tokens, max_new_tokens=5, do_sample=False, streamer=streamer, eos_token_id=None)
    assert capsys.readouterr().out == tokenizer.decode(text[0, 2:]) + "\n"
