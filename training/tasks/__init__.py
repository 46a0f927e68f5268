"""Tasks: data, its splits, metric, baselines and section of the report."""

from sma.training.tasks.digits import DigitsSpec, DigitsTask
from sma.training.tasks.graphs import KarateSpec, NodeTask, WordNetSpec
from sma.training.tasks.node_graph import NodeGraph
from sma.training.tasks.section import Image, Section
from sma.training.tasks.task import IGNORED, Batch, Evaluation, Split, Task, TaskSpec
from sma.training.tasks.text import PythonSourceSpec, TextFilesSpec, TextSpec, TextTask

__all__ = [
    "IGNORED",
    "Batch",
    "DigitsSpec",
    "DigitsTask",
    "Evaluation",
    "Image",
    "KarateSpec",
    "NodeGraph",
    "NodeTask",
    "PythonSourceSpec",
    "Section",
    "Split",
    "Task",
    "TaskSpec",
    "TextFilesSpec",
    "TextSpec",
    "TextTask",
    "WordNetSpec",
]
