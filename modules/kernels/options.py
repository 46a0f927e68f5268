"""The options that all kernels are compiled with."""

from typing import Any

OPTIONS: dict[str, Any] = {"enable_fp_fusion": True, "maxnreg": 255}
"""The bound is what threads have anyhow; without it ptxas spills a register where more programs then fit."""
