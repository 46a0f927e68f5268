"""The place of a process among those that torchrun starts, and the store that outlives them."""

import os
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch.distributed.distributed_c10d import Store

SHORT = timedelta(seconds=10)
"""How long the store is waited for."""


@dataclass(frozen=True)
class Place:
    """The place of this process among those that torchrun started.

    Attributes:
        rank: its number.
        world: how many there are.
        local_rank: its number on this machine.
        attempt: how often all were started anew.
    """

    rank: int
    world: int
    local_rank: int
    attempt: int

    @classmethod
    def found(cls) -> "Place":
        """What the environment says; the only process where it says nothing.

        Raises:
            ValueError: if a variable is not a number.
        """
        names = {"rank": "RANK", "world": "WORLD_SIZE", "local_rank": "LOCAL_RANK"}
        if not {"RANK", "WORLD_SIZE"} <= os.environ.keys():
            return cls(0, 1, 0, 0)
        try:
            fields = {field: int(os.environ.get(name, "0")) for field, name in names.items()}
            return cls(**fields, attempt=int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")))
        except ValueError as error:
            raise ValueError(
                f"RANK, WORLD_SIZE and LOCAL_RANK must be numbers ({error}); start with torchrun, "
                "or unset them"
            ) from error


def is_main() -> bool:
    """Whether this process is the only one or the first."""
    return os.environ.get("RANK", "0") == "0" or "WORLD_SIZE" not in os.environ


def store(timeout: timedelta = SHORT) -> "Store | None":
    """A store of torchrun's own, which keeps its content while processes are started anew; None without."""
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return None
    from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]

    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    connected = TCPStore(host, port, is_master=False, wait_for_workers=False, timeout=timeout)
    return PrefixStore("sma", connected)


def fails_first() -> bool:
    """Whether no other process has failed before this one, which then says why; asked once per failure."""
    place = Place.found()
    if place.world == 1:
        return True
    try:
        found = store()
        return found is None or found.add(f"failures/{place.attempt}", 1) == 1
    except (RuntimeError, OSError):  # the store is gone, and with it whoever failed first
        return place.rank == 0


def lost_connection(error: BaseException) -> bool:
    """Whether an error says that another process cannot be reached any more."""
    from torch.distributed import DistError, is_available

    if not is_available() or Place.found().world == 1:
        return False
    # gloo's errors have no type of their own, only the place in its source
    return isinstance(error, DistError) or (isinstance(error, RuntimeError) and "gloo/" in str(error))
