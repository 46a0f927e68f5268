"""Tensors on disk: safetensors files whose metadata hold a checksum of every tensor."""

import errno
import json
import os
import re
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from sma.architectures.files.atomic import write_whole
from sma.architectures.files.reading import check_regular

CHECKSUMS = "checksums"
"""The field of the metadata that holds the checksums, as JSON: of each tensor by its name, and of the other
metadata by the empty name."""

MORE = 1000
"""Tensors by which a file may hold more than twice those that are needed, to be compared by their names."""
MAX_NAME = 1000
"""Characters in the name of a tensor."""


def save_tensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write tensors and metadata to a safetensors file, which appears whole or not at all.

    Raises:
        OSError: if it cannot be written; an older file is untouched then.
        ValueError: if safetensors files hold no tensors of a dtype that is among them.
    """
    write_whole(path, tensor_file(tensors, metadata))


def tensor_file(
    tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> Callable[[Path], None]:
    """The function that `write_whole` takes to write such a file.

    It raises ValueError for a dtype that such files cannot hold, and OSError if the system cannot write.
    """

    def write(path: Path) -> None:
        own = _separate({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
        fields = dict(metadata or {})
        fields[CHECKSUMS] = json.dumps(_checksums(own, fields))
        try:
            save_file(own, path, fields)
        except SafetensorError as error:
            number = re.search(r"\(os error (\d+)\)", str(error))
            code = int(number[1]) if number else errno.EIO
            raise OSError(code, os.strerror(code), str(path)) from error
        except KeyError as error:
            name = next(name for name, tensor in own.items() if tensor.dtype in error.args)
            raise ValueError(
                f"{name} is {own[name].dtype}, which safetensors files cannot hold; convert it first"
            ) from None

    return write


def load_tensors(path: str | Path, *, n_own: int | None = None) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and the metadata in a safetensors file.

    Checksums are compared where the file holds them; one that another program wrote has none.

    Args:
        path: of the file.
        n_own: how many tensors there are to fill. A file with very many more is refused before it is read.

    Raises:
        ValueError: if the file is damaged, or is not a safetensors file; the message says what is damaged.
        FileNotFoundError: if there is no such file.
    """
    check_regular(path)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            names = file.keys()
            too_many = n_own is not None and len(names) > 2 * n_own + MORE
            tensors = {} if too_many else {name: file.get_tensor(name) for name in names}
    except (SafetensorError, OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(
            f"{path} is truncated or not a safetensors file ({reason}); copy it again"
        ) from error
    if too_many:
        raise ValueError(
            f"{path} holds {len(names):,} tensors, and {n_own:,} are needed; name a file that the model saved"
        )
    strange = next((name for name in tensors if not name.isprintable() or len(name) > MAX_NAME), None)
    if strange is not None:
        raise ValueError(f"{path} holds a tensor with the name {strange[:80]!r}; copy the file again")
    _check(path, tensors, metadata)
    return tensors, metadata


def _separate(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors, those that share memory with one before them copied."""
    seen: set[int] = set()
    result = {}
    for name, tensor in tensors.items():
        place = tensor.untyped_storage().data_ptr()
        result[name] = tensor.clone() if place in seen else tensor
        seen.add(place)
    return result


def _checksums(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> dict[str, int]:
    fields = {name: text for name, text in metadata.items() if name != CHECKSUMS}
    return {"": zlib.crc32(json.dumps(fields, sort_keys=True).encode())} | {
        name: _checksum(tensor) for name, tensor in tensors.items()
    }


def _checksum(tensor: Tensor) -> int:
    kind = zlib.crc32(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
    return zlib.crc32(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data, kind)


def _check(path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    if CHECKSUMS not in metadata:
        return
    try:
        expected = json.loads(metadata[CHECKSUMS])
        found = _checksums(tensors, metadata)
        damaged = sorted(
            name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name)
        )
    except (ValueError, AttributeError, RecursionError):
        damaged = [""]
    if damaged:
        names = ", ".join(name or "its metadata" for name in damaged[:3])
        raise ValueError(
            f"{path} is damaged: {names} {'differs' if len(damaged) == 1 else 'differ'} from what was "
            "written; copy it again"
        )
