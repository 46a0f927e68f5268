"""Rows of the user's own data: tables in files, and data sets in Python."""

from sma.training.tasks.tables.dataset import from_dataset
from sma.training.tasks.tables.table_classification import TableClassificationSpec
from sma.training.tasks.tables.table_text import TableTextSpec

__all__ = ["TableClassificationSpec", "TableTextSpec", "from_dataset"]
