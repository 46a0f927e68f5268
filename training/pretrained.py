"""Models of the transformers library that an argument names: folders, and repositories of the Hub."""

import logging
import re
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_REPOSITORY = re.compile(r"\w(?:[\w.-]*\w)?/\w(?:[\w.-]*\w)?", re.ASCII)
_FOLDER = "a folder that save_pretrained wrote"
_HUB = "a model of the Hub as owner/name, such as openai-community/gpt2"
_LONGEST = 200
"""Characters of a reason that an error quotes."""


def is_repository(name: str) -> bool:
    """Whether a name has the form of a repository of the Hub, and there is no such path here.

    Example:
        >>> is_repository("no-such/model"), is_repository("./model"), is_repository("a/b/c")
        (True, False, False)
    """
    return _REPOSITORY.fullmatch(name) is not None and not Path(name).exists()


def load_pretrained(loads: Any, name: str, **options: Any) -> Any:
    """What `loads.from_pretrained(name, **options)` returns; the Hub is asked only for `owner/name`.

    A name without an owner, as in `gpt2`, is looked up among the files that were downloaded before.

    Args:
        loads: a class of transformers: of configurations, models or tokenizers.
        name: a folder, or a repository of the Hub.
        options: of `from_pretrained`.

    Raises:
        ValueError: if there is no folder or repository of that name, or it cannot be loaded.
    """
    from safetensors import SafetensorError

    path = Path(name)
    if not path.exists() and not is_repository(name):
        if "/" in name or name.startswith("."):
            raise ValueError(
                f"there is no folder {name}, nor can it be the name of a model; give {_FOLDER}, or {_HUB}"
            )
        options["local_files_only"] = True
    if path.is_dir() and not (path / "config.json").is_file():
        raise ValueError(f"{name} is a folder without config.json; give {_FOLDER}, or {_HUB}")
    if path.is_file():
        raise ValueError(f"{name} is a file; give {_FOLDER}, or {_HUB}")
    try:
        with _retried_silently():
            return loads.from_pretrained(name, **options)
    except (OSError, ValueError, SafetensorError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # of the file system, such as a full disk
        what = f"the folder {name} cannot be loaded by {loads.__name__}"
        if not path.exists():
            what = f"there is no folder {name}, and no model of that name could be loaded"
        raise ValueError(f"{what} ({_reason(error)}); give {_FOLDER}, or {_HUB}") from error


@contextmanager
def _retried_silently() -> Iterator[None]:
    """Without two lines for each time that the Hub is asked again; the error at the end says it."""
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _reason(error: Exception) -> str:
    """The first sentence of an error's message."""
    text = str(error).strip() or type(error).__name__
    first = " ".join(re.split(r"\n|\.\s", text, maxsplit=1)[0].split())
    return textwrap.shorten(first.removesuffix("."), _LONGEST, placeholder=" ...")
