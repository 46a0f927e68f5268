"""Without the extra's packages an error names it."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[4]


@pytest.mark.parametrize("missing", ["transformers", "huggingface_hub"])
def test_a_missing_package_is_named_with_the_extra(missing):
    code = f"import sys; sys.modules[{missing!r}] = None; import sma; sma.transformers"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    line = done.stderr.splitlines()[-1]
    assert line.startswith(f"sma.lazy.MissingPackageError: sma.transformers needs the package {missing} (")
    assert line.endswith("; install it with: pip install 'sparse-modular-activation[transformers]'")
