"""The data of the paper, read from folders that the user names.

Each task reads the files of the original archive, or those of the preparation that the published code reads.
"""

from sma.training.tasks.published.characters import HundredMillionBytesSpec
from sma.training.tasks.published.long_range_arena import LRAListOpsSpec, LRARetrievalSpec, LRATextSpec
from sma.training.tasks.published.pixels import LRAImageSpec, LRAPathfinderSpec
from sma.training.tasks.published.speech import SpeechCommandsSpec

__all__ = [
    "HundredMillionBytesSpec",
    "LRAImageSpec",
    "LRAListOpsSpec",
    "LRAPathfinderSpec",
    "LRARetrievalSpec",
    "LRATextSpec",
    "SpeechCommandsSpec",
]
