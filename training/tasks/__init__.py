"""Tasks: data, its splits, metric, baselines and section of the report."""

from sma.training.tasks.digits import DigitsSpec
from sma.training.tasks.graphs import KarateSpec, NodeTask, WordNetSpec
from sma.training.tasks.listops import ListOpsSpec
from sma.training.tasks.node_graph import NodeGraph
from sma.training.tasks.pathfinder import PathfinderSpec
from sma.training.tasks.published import (
    HundredMillionBytesSpec,
    LRAImageSpec,
    LRAListOpsSpec,
    LRAPathfinderSpec,
    LRARetrievalSpec,
    LRATextSpec,
    SpeechCommandsSpec,
)
from sma.training.tasks.recall import (
    AssociativeRecallSpec,
    InductionHeadsSpec,
    RecallSpec,
    RecallTask,
    SelectiveCopyingSpec,
)
from sma.training.tasks.rows import Rows
from sma.training.tasks.rows_task import RowsTask
from sma.training.tasks.section import Image, Section
from sma.training.tasks.standins import (
    FashionMNISTSpec,
    GCIDESpec,
    NewsSpec,
    PythonDocsSpec,
    SyntheticSpeechSpec,
)
from sma.training.tasks.tables import TableClassificationSpec, TableTextSpec, from_dataset
from sma.training.tasks.task import IGNORED, Batch, Evaluation, Part, Split, Task, TaskSpec
from sma.training.tasks.text import PythonSourceSpec, TextFilesSpec, TextSpec, TextTask, Tokenizer

__all__ = [
    "IGNORED",
    "AssociativeRecallSpec",
    "Batch",
    "DigitsSpec",
    "Evaluation",
    "FashionMNISTSpec",
    "GCIDESpec",
    "HundredMillionBytesSpec",
    "Image",
    "InductionHeadsSpec",
    "KarateSpec",
    "LRAImageSpec",
    "LRAListOpsSpec",
    "LRAPathfinderSpec",
    "LRARetrievalSpec",
    "LRATextSpec",
    "ListOpsSpec",
    "NewsSpec",
    "NodeGraph",
    "NodeTask",
    "Part",
    "PathfinderSpec",
    "PythonDocsSpec",
    "PythonSourceSpec",
    "RecallSpec",
    "RecallTask",
    "Rows",
    "RowsTask",
    "Section",
    "SelectiveCopyingSpec",
    "SpeechCommandsSpec",
    "Split",
    "SyntheticSpeechSpec",
    "TableClassificationSpec",
    "TableTextSpec",
    "Task",
    "TaskSpec",
    "TextFilesSpec",
    "TextSpec",
    "TextTask",
    "Tokenizer",
    "WordNetSpec",
    "from_dataset",
]
