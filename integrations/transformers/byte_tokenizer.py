"""`ByteTokenizer`: text as bytes, for models over 256 tokens."""

from pathlib import Path
from typing import Any, ClassVar

from typing_extensions import override

from sma.transformers.remote_code import auto_map_of_tokenizer, write_remote_code
from transformers import AddedToken, PreTrainedTokenizer

END = "<|endoftext|>"
_N_BYTES = 256


class ByteTokenizer(PreTrainedTokenizer):
    """Every byte of UTF-8 is the token of its own number; 0 begins and ends a text, and fills padding.

    So does the task `text_files` read text, with which `sma train` trains language models over bytes. Bytes
    that are not UTF-8 are decoded to the replacement character.

    Args:
        add_bos_token: begin a text with 0, as language models read it; classifiers of text do not.
        kwargs: of `transformers.PreTrainedTokenizer`, such as `padding_side`, which is "left" here.

    Example:
        >>> tokenizer = ByteTokenizer()
        >>> tokenizer("hé").input_ids
        [0, 104, 195, 169]
        >>> tokenizer.decode([0, 104, 195, 169], skip_special_tokens=True)
        'hé'
    """

    model_input_names: ClassVar[list[str]] = ["input_ids", "attention_mask"]
    padding_side = "left"

    def __init__(self, add_bos_token: bool = True, **kwargs: Any) -> None:
        self.add_bos_token = add_bos_token
        end = AddedToken(END, normalized=False, special=True)
        self._added_tokens_decoder = {0: end}
        for name in ("bos_token", "eos_token", "pad_token"):
            kwargs.setdefault(name, end)
        kwargs.setdefault("clean_up_tokenization_spaces", False)
        super().__init__(add_bos_token=add_bos_token, **kwargs)

    @property
    @override
    def vocab_size(self) -> int:
        return _N_BYTES

    @override
    def get_vocab(self) -> dict[str, int]:
        return {self._convert_id_to_token(i): i for i in range(1, _N_BYTES)} | self.added_tokens_encoder

    @override
    def build_inputs_with_special_tokens(
        self, token_ids_0: list[int], token_ids_1: list[int] | None = None
    ) -> list[int]:
        """Texts, each after a 0, or with one between two of them."""
        start = [0] * self.add_bos_token
        return [*start, *token_ids_0] if token_ids_1 is None else [*start, *token_ids_0, 0, *token_ids_1]

    @override
    def get_special_tokens_mask(
        self,
        token_ids_0: list[int],
        token_ids_1: list[int] | None = None,
        already_has_special_tokens: bool = False,
    ) -> list[int]:
        """1 where a 0 begins a text."""
        if already_has_special_tokens:
            return [int(token == 0) for token in token_ids_0]
        mask = [*[1] * self.add_bos_token, *(0 for _ in token_ids_0)]
        return mask if token_ids_1 is None else [*mask, 1, *(0 for _ in token_ids_1)]

    def _tokenize(self, text: str, **kwargs: Any) -> list[str]:
        return [chr(byte) for byte in text.encode("utf-8", "surrogateescape")]

    def _convert_token_to_id(self, token: str) -> int:
        return ord(token)

    def _convert_id_to_token(self, index: int) -> str:
        return chr(index)

    @override
    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        """The text of bytes; a special token stands as its name."""
        parts = (
            token.encode() if token in self.added_tokens_encoder else bytes([ord(token)]) for token in tokens
        )
        return b"".join(parts).decode("utf-8", "replace")

    @override
    def save_vocabulary(self, save_directory: str, filename_prefix: str | None = None) -> tuple[str, ...]:
        """Nothing to save but the file by which transformers finds this class."""
        write_remote_code(Path(save_directory))
        return ()

    @override
    def save_pretrained(self, *args: Any, **kwargs: Any) -> tuple[str, ...]:
        """Write tokenizer_config.json, which names this class."""
        self.init_kwargs["auto_map"] = auto_map_of_tokenizer()
        return super().save_pretrained(*args, **kwargs)

    @classmethod
    def register_for_auto_class(cls, auto_class: str = "AutoTokenizer") -> None:
        """Nothing: a saved folder names this package, and no code is copied into it."""
