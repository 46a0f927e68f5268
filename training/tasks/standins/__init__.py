"""Tasks on data that packages of Debian and PyPI hold, each named as what it is.

They have the form of the paper's tasks, whose own data are read by `sma.training.tasks.published`: a result
on one of them is not a result of the paper's task.
"""

from sma.training.tasks.standins.fashion_mnist import FashionMNISTSpec
from sma.training.tasks.standins.gcide import GCIDESpec
from sma.training.tasks.standins.news import NewsSpec
from sma.training.tasks.standins.python_docs import PythonDocsSpec
from sma.training.tasks.standins.synthetic_speech import SyntheticSpeechSpec

__all__ = ["FashionMNISTSpec", "GCIDESpec", "NewsSpec", "PythonDocsSpec", "SyntheticSpeechSpec"]
