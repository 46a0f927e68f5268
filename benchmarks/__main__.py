"""Run the benchmarks that benchmarks/performance.md names and write docs/performance.md.

    python -m benchmarks [--reference /path/to/SeqBoat] [--only layer ema] [--threads 2]

A line `{{NAME OPTIONS}}` of that file is replaced by what `python -m benchmarks.NAME OPTIONS` prints. What is
finished is kept in build/bench until all is, so that a run that was stopped goes on where it was.
"""

import argparse
import datetime
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from textwrap import fill

ROOT = Path(__file__).parents[1]
TEMPLATE = ROOT / "benchmarks" / "performance.md"
PAGE = ROOT / "docs" / "performance.md"
KEPT = ROOT / "build" / "bench"
LITERAL = ("ema", "attention")
"""Benchmarks that print text, not Markdown."""
WITH_REFERENCE = ("layer", "peers")
WITHOUT_THREADS = ("imports", "peer_states", "ready_step")


PLACE = re.compile(r"^\{\{([\w -]+)\}\}$", re.MULTILINE)


def calls(template: str) -> list[str]:
    """The benchmarks that a page consists of, each with its options."""
    return PLACE.findall(template)


def arguments(call: str, reference: Path | None, threads: int) -> list[str]:
    """What a benchmark is called with: its name and its options."""
    name, *given = call.split()
    given += [] if name in WITHOUT_THREADS else ["--threads", str(threads)]
    given += ["--reference", str(reference)] if reference and name in WITH_REFERENCE else []
    return [name, *given]


def section(command: list[str], output: str) -> str:
    """How a benchmark's output stands in the page: the command, then the output."""
    words = [
        "/path/to/SeqBoat" if before == "--reference" else word
        for before, word in zip(["", *command], command, strict=False)
    ]
    body = f"```text\n{output.strip()}\n```" if command[0] in LITERAL else output.strip()
    return f"`python -m benchmarks.{' '.join(words)}`\n\n{body}"


def run(command: list[str]) -> str | None:
    """A benchmark's output; None if it failed. Its errors and warnings are printed."""
    # Waiting threads sleep: spinning ones cost tenfold when anything else runs.
    environment = {"OMP_WAIT_POLICY": "passive", **os.environ}
    name, *options = command
    whole = [sys.executable, "-m", f"benchmarks.{name}", *options]
    result = subprocess.run(whole, stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT)
    return None if result.returncode else result.stdout


def page(template: str, sections: Mapping[str, str], measured: str) -> str:
    """The page: the template with its benchmarks, and on what they were measured."""
    head = re.sub(
        r"^\{\{measured\}\} (.*)$",
        lambda found: fill(f"{measured} {found[1]}", 120),
        template,
        flags=re.MULTILINE,
    )
    return PLACE.sub(lambda found: sections[found[1]], head)


def kept(call: str) -> Path:
    """Where a finished benchmark is kept until all are."""
    return KEPT / f"{call.replace(' ', '_')}.md"


def machine(threads: int) -> str:
    """The machine and the versions that were measured."""
    model = next(
        (line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.processor() or platform.machine(),
    )
    packages = ", ".join(f"{name} {_version(name)}" for name in ("torch", "numpy", *peers()))
    return (
        f"{model}, {os.cpu_count()} cores, {threads} threads; Python {platform.python_version()}, {packages}"
    )


def peers() -> list[str]:
    """The packages that are measured beside this one."""
    lines = (ROOT / "benchmarks" / "requirements.txt").read_text().splitlines()
    return [line.partition("==")[0] for line in lines if "==" in line]


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else []


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"


def main() -> None:
    template = TEMPLATE.read_text(encoding="utf-8")
    known = calls(template)
    names = sorted({call.split()[0] for call in known})
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--reference", type=Path, help="folder of the published code")
    parser.add_argument(
        "--only", nargs="+", choices=names, default=names, help="run these; the page waits for all"
    )
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    KEPT.mkdir(parents=True, exist_ok=True)
    for call in known:
        if call.split()[0] in options.only:
            _keep(call, arguments(call, options.reference, options.threads))
    missing = [call for call in known if not kept(call).exists()]
    if missing:
        raise SystemExit(f"not written, since there are no figures of: {', '.join(missing)}")
    command = "make bench" + (" REFERENCE=/path/to/SeqBoat" if options.reference else "")
    measured = f"Measured {datetime.date.today()} by `{command}` on {machine(options.threads)}."
    sections = {call: kept(call).read_text(encoding="utf-8") for call in known}
    PAGE.write_text(page(template, sections, measured), encoding="utf-8")
    shutil.rmtree(KEPT)
    print(f"wrote {PAGE.relative_to(ROOT)}")


def _keep(call: str, command: list[str]) -> None:
    """Run a benchmark and keep its section, unless it is there."""
    path = kept(call)
    if path.exists():
        print(f"{call}: measured before; remove {path.relative_to(ROOT)} to measure it again")
        return
    start = time.monotonic()
    output = run(command)
    if output is None:
        print(f"{call}: failed, see above", file=sys.stderr)
        return
    print(f"{output}\n{call}: {time.monotonic() - start:.0f} s\n", flush=True)
    path.write_text(section(command, output), encoding="utf-8")


if __name__ == "__main__":
    main()
