"""The GCIDE dictionary as bytes to be predicted."""

import gzip
import zlib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import override

from sma import register
from sma.architectures.files.reading import expanded
from sma.training.tasks.standins.installed import debian_path
from sma.training.tasks.text.corpus import TextFile
from sma.training.tasks.text.text_files import TextSpec

FILE = Path("/usr/share/dictd/gcide.dict.dz")
PACKAGE = "dict-gcide"
PART = 2**16
"""Bytes of a part, which is in one split; entries are not cut."""


@register
class GCIDESpec(TextSpec):
    """The Collaborative International Dictionary of English, as Debian's dict-gcide holds it: 40 MB of text.

    Parts of about 64 kB that end with an entry are dealt out to the splits, so that all have words of every
    initial letter.

    Attributes:
        file: the dictionary, with gzip.
    """

    kind: Literal["gcide"] = "gcide"
    file: Annotated[str, Field(min_length=1)] = str(FILE)

    @override
    def read(self) -> tuple[list[TextFile], str, dict[str, str]]:
        path = debian_path(expanded(self.file, field="task.file"), PACKAGE)
        try:
            content = gzip.decompress(path.read_bytes())
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(f"{path} is damaged ({error}); install {PACKAGE} anew") from error
        return (
            parts(content),
            "the GCIDE dictionary",
            {"package": f"Debian {PACKAGE}", "parts": f"of about {PART:,} bytes, each ending with an entry"},
        )


def parts(content: bytes) -> list[TextFile]:
    """Consecutive parts of a dictionary; each but the last has at least `PART` bytes and ends with an entry.

    An entry begins, after an empty line, with a character that is not a space.
    """
    found: list[TextFile] = []
    start = 0
    while start < len(content):
        stop = content.find(b"\n\n", start + PART)
        while 0 <= stop < len(content) - 2 and content[stop + 2 : stop + 3] in b" \n":
            stop = content.find(b"\n\n", stop + 1)
        stop = len(content) if stop < 0 else min(stop + 2, len(content))
        found.append(TextFile(f"gcide part {len(found):04d}", content[start:stop]))
        start = stop
    return found
