"""The file in a saved folder by which `trust_remote_code=True` finds the classes of this package."""

from pathlib import Path

from sma.architectures.files.atomic import write_whole

_FILE = "sma_auto"
_CLASSES = {
    "AutoConfig": "SMAConfig",
    "AutoModel": "SMAModel",
    "AutoModelForCausalLM": "SMAForCausalLM",
    "AutoModelForSequenceClassification": "SMAForSequenceClassification",
    "AutoModelForTokenClassification": "SMAForTokenClassification",
}
AUTO_MAP = {auto: f"{_FILE}.{name}" for auto, name in _CLASSES.items()}
"""The field `auto_map` of config.json."""

_CODE = '''"""Where the classes of this model are: in the package sparse-modular-activation."""

try:  # transformers asks for packages by the names of modules, which is another one here
    from sma.transformers import {names}
except ImportError as error:
    raise ImportError(
        "this model needs: pip install 'sparse-modular-activation[transformers]'"
    ) from error
'''


def write_remote_code(folder: Path) -> None:
    """Write the file that `AUTO_MAP` names into a folder.

    A program that does not import `sma.transformers` loads the model with `trust_remote_code=True`; one that
    does needs neither the option nor the file.
    """
    names = sorted({*_CLASSES.values(), "ByteTokenizer"})
    write_whole(folder / f"{_FILE}.py", _CODE.format(names=", ".join(names)))


def auto_map_of_tokenizer() -> dict[str, list[str | None]]:
    """The field `auto_map` of the tokenizer_config.json of a `ByteTokenizer`."""
    return {"AutoTokenizer": [f"{_FILE}.ByteTokenizer", None]}
