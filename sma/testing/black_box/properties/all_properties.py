"""All properties, in the order in which they are tried."""

from collections.abc import Sequence

from sma.checks import near
from sma.testing.black_box.properties.batch_mates import BatchMates
from sma.testing.black_box.properties.cached_decoding import (
    Decoding,
    DecodingAnew,
    DecodingPastWindow,
    PaddedDecoding,
)
from sma.testing.black_box.properties.determinism import Determinism
from sma.testing.black_box.properties.drift import Drift
from sma.testing.black_box.properties.idle_parts import IdleParts
from sma.testing.black_box.properties.looking_ahead import Causality
from sma.testing.black_box.properties.moving_rows import JoiningRows, MovedRows
from sma.testing.black_box.properties.packing import PackedRows
from sma.testing.black_box.properties.padding import Padding, PaddingContent
from sma.testing.black_box.properties.property import Property
from sma.testing.black_box.properties.recomputing import Recomputation
from sma.testing.black_box.properties.saving import SaveAndLoad

PROPERTIES: tuple[Property, ...] = (
    Determinism(),
    Causality(),
    BatchMates(),
    Padding(left=False),
    Padding(left=True),
    PaddingContent(),
    PackedRows(),
    Decoding("decoding one by one", 1),
    Decoding("decoding in chunks", 4),
    DecodingPastWindow(),
    PaddedDecoding(),
    DecodingAnew(),
    MovedRows(leave=False),
    MovedRows(leave=True),
    JoiningRows(),
    Recomputation(),
    IdleParts(),
    Drift(),
    SaveAndLoad(),
)
NAMES = tuple(each.name for each in PROPERTIES)


def named(names: Sequence[str] | None) -> tuple[Property, ...]:
    """The properties of these names; None: all.

    Raises:
        ValueError: if there is no property of a name.
    """
    for name in names or ():
        if name not in NAMES:
            raise ValueError(f"there is no property {name!r}{near(name, NAMES)}")
    return tuple(each for each in PROPERTIES if names is None or each.name in names)
