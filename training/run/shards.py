"""Checkpoints of sharded models: folders that all processes write, by torch.distributed.checkpoint."""

import hashlib
import json
import pickle
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, distributed
from typing_extensions import override

from sma.architectures.files.atomic import sync_folder, write_whole
from sma.training.parallel.tensors import is_sharded, owner
from sma.training.run.background import Background
from sma.training.run.folder import Run, guard

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup
    from torch.distributed.checkpoint.metadata import Metadata

RECORD = "checkpoint.json"
"""The fields of a checkpoint, and the SHA-256 of its other files. Written last: without it there is none."""

_ALLOWED = re.compile(r"torch\.distributed\.checkpoint\.\w+|torch\.serialization|torch|pathlib(\._local)?")
"""The modules whose names torch's index of a checkpoint, a pickle, may hold."""


def save_shards(
    run: Run, tensors: Mapping[str, Tensor], fields: Mapping[str, str], background: Background | None = None
) -> None:
    """Write a folder below `shards/`, of which every process writes its own shares; older ones are removed.

    All processes must call this together.

    Args:
        run: its folder.
        tensors: whole ones and shares of them.
        fields: of the record.
        background: writes a copy of the tensors, while they may change. None: write before returning.

    Raises:
        RunError: if it cannot be written; the older checkpoint is untouched then.
    """
    if background is None:
        _write_shards(run, tensors, fields, None)
        return
    from torch.distributed.checkpoint.staging import BlockingAsyncStager

    background.wait()  # so that there are never two copies
    copied, group = BlockingAsyncStager().stage(dict(tensors)), background.group
    background.start(lambda: _write_shards(run, copied, fields, group))


def _write_shards(
    run: Run, tensors: Mapping[str, Tensor], fields: Mapping[str, str], group: "ProcessGroup | None"
) -> None:
    from torch.distributed.checkpoint.api import CheckpointException
    from torch.distributed.checkpoint.filesystem import FileSystemWriter
    from torch.distributed.checkpoint.state_dict_saver import save

    with guard(run.shards, run.advice):
        folder, part = _next(run, group)
        try:
            save(dict(tensors), storage_writer=FileSystemWriter(part), process_group=group)
        except CheckpointException as error:
            first = next(iter(error.failures.values()))[0]
            raise first if isinstance(first, OSError) else error from None
        rank = distributed.get_rank()
        own = {path.name: _digest(path) for path in part.glob(f"__{rank}_*")}
        all_own: list[dict[str, str]] = [{} for _ in range(distributed.get_world_size())]
        distributed.all_gather_object(all_own, own, group=group)
        if run.writes:
            files = {name: digest for each in all_own for name, digest in each.items()}
            files[".metadata"] = _digest(part / ".metadata")
            write_whole(part / RECORD, json.dumps({**fields, "checksums": json.dumps(files)}))
            part.rename(folder)
            sync_folder(run.shards)
            run.last.unlink(missing_ok=True)
            for path in run.shards.iterdir():
                if path != folder:
                    shutil.rmtree(path)


def remove_shards(run: Run) -> None:
    """Remove all sharded checkpoints."""
    if run.shards.exists():
        shutil.rmtree(run.shards)


def load_shards(folder: Path, like: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and the fields of a sharded checkpoint, which any number of processes may have written.

    Args:
        folder: the checkpoint.
        like: tensors of the model by name; what belongs to one of them and has its shape is sharded as it is.

    Raises:
        ValueError: if a file is missing or damaged.
    """
    from torch.distributed.checkpoint.api import CheckpointException
    from torch.distributed.checkpoint.state_dict_loader import load

    try:
        fields = json.loads((folder / RECORD).read_text())
        _check(folder, json.loads(fields["checksums"]))
        reader = _reader(folder)
        tensors = {
            name: _empty(name, entry, like)
            for name, entry in reader.read_metadata().state_dict_metadata.items()
        }
        load(tensors, storage_reader=reader, no_dist=not distributed.is_initialized())
    except FileNotFoundError as error:
        raise ValueError(f"{Path(error.filename).name} is missing") from error
    except (CheckpointException, pickle.UnpicklingError, KeyError, TypeError, EOFError) as error:
        raise ValueError(" ".join(str(error).split())[:200]) from error
    return tensors, {name: str(value) for name, value in fields.items()}


def _next(run: Run, group: "ProcessGroup | None") -> tuple[Path, Path]:
    """The folder of a new checkpoint, and the one that it is written in before it is whole."""
    told: list[Any] = [None]
    if run.writes:
        run.shards.mkdir(exist_ok=True)
        for left in run.shards.glob("*.part"):
            shutil.rmtree(left)
        told = [max((int(path.name) for path in run.shards.iterdir()), default=0) + 1]
    distributed.broadcast_object_list(told, group=group)
    folder = run.shards / f"{told[0]:06d}"
    part = folder.with_suffix(".part")
    part.mkdir(exist_ok=True)
    return folder, part


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check(folder: Path, digests: Mapping[str, str]) -> None:
    """Compare the files with their checksums; each process its share of them."""
    several = distributed.is_initialized()
    rank, world = (distributed.get_rank(), distributed.get_world_size()) if several else (0, 1)
    index = [name for name in digests if name == ".metadata"]  # which every process reads
    for name in sorted({*sorted(digests)[rank::world], *index}):
        if _digest(folder / Path(name).name) != digests[name]:
            raise ValueError(f"the checksum of {name} is another")


def _empty(name: str, entry: Any, like: Mapping[str, Tensor]) -> Tensor:
    """A tensor to read an entry into."""
    model = owner(name, like)
    if model is not None and is_sharded(model) and model.shape == entry.size:
        return torch.empty_like(model, dtype=entry.properties.dtype)
    return torch.empty(entry.size, dtype=entry.properties.dtype)


def _reader(folder: Path) -> Any:
    from torch.distributed.checkpoint.filesystem import FileSystemReader
    from torch.distributed.checkpoint.metadata import StorageMeta

    class Reader(FileSystemReader):
        """Reads the index, a pickle, without running anything that it names."""

        @override
        def read_metadata(self, *args: Any, **kwargs: Any) -> "Metadata":
            with (folder / ".metadata").open("rb") as file:
                metadata: Metadata = _Unpickler(file).load()
            metadata.storage_meta = metadata.storage_meta or StorageMeta()
            metadata.storage_meta.load_id = self.load_id
            return metadata

    return Reader(folder)


class _Unpickler(pickle.Unpickler):
    @override
    def find_class(self, module: str, name: str) -> Any:
        found = super().find_class(module, name) if _ALLOWED.fullmatch(module) else None
        if not isinstance(found, type | torch.dtype) and (module, name) not in _FUNCTIONS:
            raise pickle.UnpicklingError(f".metadata names {module}.{name}, which no checkpoint needs")
        return found


_FUNCTIONS = {("torch.serialization", "_get_layout")}
