"""Run every benchmark and write docs/performance.md.

    python -m benchmarks [--reference /path/to/SeqBoat] [--only layer ema] [--threads 2]

The published code is measured too where its folder is given.
"""

import argparse
import datetime
import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from textwrap import fill

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "performance.md"


@dataclass(frozen=True)
class Section:
    """One script and how its output stands in the page."""

    script: str
    title: str
    text: str
    markdown: bool = True


SECTIONS = [
    Section(
        "layer",
        "SeqBoat's layer",
        "A training step (forward and backward) of one layer, D 128, d_qk 64, d_hidden 256, W 128, S 16, "
        "softmax; the same weights and inputs on both sides. Why targets are missed: where little is "
        "active, what remains are passes over (B, L, D), bound by memory, which a second thread hardly "
        "speeds up; where everything is, such passes take as long as the matrix products, which two "
        "threads halve. At L 65,536 tensors reach 32 MB, from where on glibc fetches fresh pages for each "
        "of them, in every step.",
    ),
    Section(
        "ema",
        "The moving average",
        "`MultiHeadEMA` in chunks against the same function by FFT; the target is 5 x.",
        False,
    ),
    Section(
        "windows",
        "Windowed attention",
        "Alone, against local-attention where that is installed; the target is to be as fast, in no more "
        "memory.",
        False,
    ),
    Section("attention", "GAU", "Against its matrix products alone, all active.", False),
    Section(
        "decoding",
        "Decoding",
        "Six layers, D 256, W 128, batch 32, freshly initialised. An eager step is some 150 small operations "
        "per layer, which cost more than the products; a compiled step fuses them. It is compiled by "
        "`torch.compile(model.step, fullgraph=True)` with "
        "`torch._dynamo.config.capture_dynamic_output_shape_ops` set.",
    ),
    Section(
        "experts",
        "Experts",
        "Against the Mixtral block of transformers with the same weights.",
        False,
    ),
    Section(
        "models",
        "Whole models",
        "Four layers of the published LRA text shape, equal widths, one row, causal; a training step.",
    ),
    Section("compile", "Compilation", "What `torch.compile` gains in a training step of two layers, D 128."),
    Section("imports", "Imports", "In fresh processes. `import sma` loads torch when a name first needs it."),
]
FOOT = """## Threads

Waiting OpenMP threads spin by default, and beside other programs a step then takes up to ten times as long.
The `sma` command bounds the spinning and the Makefile sets `OMP_WAIT_POLICY=passive`; set it in your own
programs before torch is imported. Nothing here was measured on a GPU.
"""


def run(section: Section, reference: Path | None, threads: int) -> str:
    """A section of the page: title, text, what the script printed."""
    command = [sys.executable, str(HERE / f"{section.script}.py")]
    if section.script != "imports":
        command += ["--threads", str(threads)]
    if section.script == "layer" and reference is not None:
        command += ["--reference", str(reference)]
    options = " ".join(command[2:]).replace(str(reference), "/path/to/SeqBoat")
    shown = f"python benchmarks/{section.script}.py {options}".strip()
    # Waiting threads sleep: spinning ones cost tenfold when anything else runs.
    environment = {"OMP_WAIT_POLICY": "passive", **os.environ}
    result = subprocess.run(command, capture_output=True, text=True, env=environment)
    if result.returncode:
        output = f"Failed: {result.stderr.strip().splitlines()[-1]}"
        print(result.stderr, file=sys.stderr)
    else:
        output = result.stdout.strip()
    body = output if section.markdown else f"```text\n{output}\n```"
    return f"## {section.title}\n\n{fill(section.text, 120)}\n`{shown}`\n\n{body}\n"


def machine(threads: int) -> str:
    """The machine and the versions that were measured."""
    model = next(
        (line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.processor() or platform.machine(),
    )
    packages = ", ".join(f"{name} {_version(name)}" for name in ("torch", "numpy", "transformers"))
    return (
        f"{model}, {os.cpu_count()} cores, {threads} threads; Python {platform.python_version()}, {packages}"
    )


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else []


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [section.script for section in SECTIONS]
    parser.add_argument("--reference", type=Path, help="folder of the published code")
    parser.add_argument("--only", nargs="+", choices=names, default=names, help="print these, write nothing")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    parts = []
    for section in SECTIONS:
        if section.script in options.only:
            parts.append(run(section, options.reference, options.threads))
            print(parts[-1], flush=True)
    if options.only != names:
        return
    command = "make bench" + (" REFERENCE=/path/to/SeqBoat" if options.reference else "")
    measured = (
        f"Measured {datetime.date.today()} by `{command}` on "
        f"{machine(options.threads)}. Times are medians; memory is what a step needs at its peak on top of "
        "what it finds, in a fresh process."
    )
    head = f"# Performance\n\n{fill(measured, 120)}\n"
    PAGE.write_text("\n".join([head, *parts, FOOT]), encoding="utf-8")
    print(f"wrote {PAGE}")


if __name__ == "__main__":
    main()
