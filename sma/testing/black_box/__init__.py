"""The check of any model as a black box, for the properties of this project's own."""

from sma.testing.black_box.check_model import check_model
from sma.testing.black_box.report import Finding, Report

__all__ = ["Finding", "Report", "check_model"]
