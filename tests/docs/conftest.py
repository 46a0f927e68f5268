"""The documentation site, built once for all tests and all processes of a test run."""

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "docs"))


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """The folder of the site's HTML, as `make docs` builds it."""
    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base  # that of the whole run
    folder = base / "documentation"
    with open(base / "documentation.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        log = base / "documentation.log"
        if not log.exists():
            log.write_text(build(folder))
    assert not log.read_text(), log.read_text()
    return folder


def build(folder):
    """Build the site; what sphinx complains about."""
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html"]
    done = subprocess.run(
        [*command, "-d", f"{folder}-trees", str(ROOT / "docs"), str(folder)],
        capture_output=True,
        text=True,
        timeout=500,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    return done.stderr if done.returncode else ""
