"""Time to import sma beside the time to import torch, each in fresh processes.

python -m benchmarks.imports [--rounds 7]
"""

import argparse
import subprocess
import sys
import time
from statistics import median

STATEMENTS = {
    "import torch": "import torch",
    "import sma": "import sma",
    "from sma import *": "from sma import *",
    "sma --help": "import sys; sys.argv = ['sma', '--help']; from sma.training.cli.app import main; main()",
}


def report(rounds: int) -> list[str]:
    """The table, as lines of Markdown."""
    seconds: dict[str, list[float]] = {name: [] for name in STATEMENTS}
    for _ in range(rounds + 1):
        for name, code in STATEMENTS.items():
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=False, capture_output=True)
            seconds[name].append(time.perf_counter() - start)
    medians = {name: median(times[1:]) for name, times in seconds.items()}
    torch, sma, names, command = medians.values()
    return [
        "| | time | target |",
        "| --- | --- | --- |",
        f"| import torch | {torch:.2f} s | |",
        f"| import sma | {sma:.2f} s, {sma / torch:.2f} x | at most 1.2 x |",
        f"| from sma import *: every name, and torch | {names:.2f} s, {names / torch:.2f} x | |",
        f"| sma --help | {command:.2f} s | under 0.3 s |",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7)
    print("\n".join(report(parser.parse_args().rounds)))


if __name__ == "__main__":
    main()
