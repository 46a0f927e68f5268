"""The tokenizer of a `tokenizer.json`, as this project's tasks read text with it."""

from pathlib import Path

from tokenizers import Tokenizer

from sma.transformers.byte_tokenizer import END
from transformers import AddedToken, PreTrainedTokenizerFast


def file_tokenizer(path: str | Path, *, end: int) -> PreTrainedTokenizerFast:
    """A tokenizer of transformers from a `tokenizer.json`.

    Args:
        path: of the file, of the library `tokenizers`.
        end: the token that ends a text and fills padding: one of the file's, or one more than it has.

    Raises:
        ValueError: if the file is missing or is not a tokenizer, or `end` is more than one beyond its tokens.

    Example:
        >>> import tempfile
        >>> from tokenizers import Tokenizer, models
        >>> path = f"{tempfile.mkdtemp()}/tokenizer.json"
        >>> Tokenizer(models.WordLevel({"a": 0, "b": 1}, unk_token="a")).save(path)
        >>> file_tokenizer(path, end=2).eos_token_id
        2
    """
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=_read(path), padding_side="left")
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    name = tokenizer.convert_ids_to_tokens(end) if end < len(tokenizer) else END
    n_tokens = len(tokenizer)
    tokenizer.add_special_tokens(
        dict.fromkeys(("bos_token", "eos_token", "pad_token"), AddedToken(name, special=True))
    )
    if tokenizer.eos_token_id != end:
        raise ValueError(f"end={end} is not a token of {path}, nor the next after its {n_tokens}; name one")
    return tokenizer


def _read(path: str | Path) -> Tokenizer:
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing more specific
        raise ValueError(
            f"{path} is not a tokenizer ({error}); name a tokenizer.json of the library tokenizers"
        ) from error
