"""Write the tables of docs/kernels.md: what compiled kernels take of three GPUs, and times to expect.

    python -m benchmarks.kernels [--all]

Needs no GPU. By default the attention kernels are compiled with everything on that takes registers (a bias,
dropout), with --all in every configuration that may be chosen, which takes an hour.
"""

import argparse
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from textwrap import fill

import torch

from sma.modules.kernels.cubins import CHIPS, DTYPES, Configuration, configurations, resources
from sma.modules.kernels.estimates import attention_work, compaction_share, recurrence_work, scan_work

PAGE = Path(__file__).parents[1] / "docs" / "kernels.md"
BEGIN = "<!-- written by benchmarks/kernels.py from here on -->\n"
LENGTHS = (8192, 65536)


def wanted(configuration: Configuration, everything: bool) -> bool:
    """Whether it is among those that are compiled by default."""
    constants = configuration.constants
    heavy = (
        constants.get("BIAS", True) in (True, 2)
        and constants.get("DROPOUT", True)
        and constants.get("FUNCTION", 0) == 0
    )
    return everything or (heavy and configuration.dtype != torch.float16)


def resource_table(everything: bool) -> list[str]:
    """The largest of every kernel, dtype and width, as lines of Markdown."""
    chosen = [c for c in configurations() if wanted(c, everything)]
    jobs = [(c, capability) for c in chosen for capability in CHIPS]
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda job: resources(*job), jobs))
    worst: dict[tuple[str, str, str], dict[int, list]] = defaultdict(lambda: defaultdict(list))
    for (configuration, capability), used in zip(jobs, found, strict=True):
        width = str(configuration.constants.get("WIDTH", ""))
        key = configuration.kernel.removesuffix("_kernel"), DTYPES[configuration.dtype], width
        worst[key][capability].append(used)
    heads = " | ".join(f"sm_{capability}: registers, shared, spills" for capability in CHIPS)
    lines = [f"| kernel | dtype | columns | configurations | {heads} |", "| --- " * (4 + len(CHIPS)) + "|"]
    for key, by_chip in worst.items():
        cells = [
            ", ".join(
                f"{max(getattr(u, name) for u in used):,}" for name in ("registers", "shared", "spills")
            )
            for used in by_chip.values()
        ]
        lines.append(f"| {' | '.join(key)} | {len(by_chip[80])} | {' | '.join(cells)} |")
    return lines


def time_table() -> list[str]:
    """Forward and backward at the chips' limits, as lines of Markdown."""
    lines = [
        f"| {' | '.join(('operation', 'L', *(chip.name for chip in CHIPS.values())))} |",
        "| --- " * (2 + len(CHIPS)) + "|",
    ]
    half, single = torch.bfloat16, torch.float32
    for length in LENGTHS:
        rows = {
            "attention, 8 heads of 64, W 128, bfloat16": [
                attention_work(length, 8, 64, 64, 128, half, backward=b) for b in (False, True)
            ],
            "attention, 8 heads of 64, W 128, float32": [
                attention_work(length, 8, 64, 64, 128, single, backward=b) for b in (False, True)
            ],
            "attention, d_qk 128, d_v 1024, W 512, bfloat16": [
                attention_work(length, 1, 128, 1024, 512, half, backward=b) for b in (False, True)
            ],
            "EMA, D 512, S 16": [
                recurrence_work(length, 512, 16, complex=False, backward=b) for b in (False, True)
            ],
            "S4D, D 512, 32 complex modes": [
                recurrence_work(length, 512, 32, complex=True, backward=b) for b in (False, True)
            ],
            "selective scan, 16 heads of 64, S 64": [
                scan_work(length, 16, 64, 64, backward=b) for b in (False, True)
            ],
        }
        for name, works in rows.items():
            cells = [
                " + ".join(f"{1e6 * work.seconds(chip):,.0f}" for work in works) for chip in CHIPS.values()
            ]
            lines.append(f"| {name} | {length:,} | {' | '.join(cells)} |")
    return lines


def wrapped(text: str) -> str:
    """Paragraphs of Markdown in lines of at most 120 characters; tables and titles as they are."""
    paragraphs = text.strip().split("\n\n")
    plain = [p[:1] in "|#<" for p in paragraphs]
    lines = [p if keep else fill(p, 120) for p, keep in zip(paragraphs, plain, strict=True)]
    return "\n\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--all", action="store_true", help="compile every configuration")
    options = parser.parse_args()
    saved = ", ".join(f"{compaction_share(512, 128, 1024, a):.0%} at {a:.0%}" for a in (0.1, 0.3, 1.0))
    compiled = "every configuration" if options.all else "softmax with a bias and dropout"
    limits = "; ".join(
        f"{c.name} {c.shared // 1024} KiB of shared memory, {c.bandwidth / 1e12:.2f} TB/s, "
        f"{c.half / 1e12:.0f} TFLOP/s in bfloat16, {c.single / 1e12:.1f} in float32"
        for c in CHIPS.values()
    )
    text = f"""{BEGIN}
## What compiled kernels take

The largest over the configurations of a row: registers of a thread, of 255; bytes of shared memory of a
program; bytes of spilled registers. Attention is compiled for {compiled}; `make test-slow` compiles
every configuration.

{chr(10).join(resource_table(options.all))}

## Times to expect

Microseconds of forward + backward at the limits of the chips, one row of L elements, all active: the
largest of bytes over bandwidth, matrix products over the tensor cores' rate (float32 as three products
of tf32), and other operations over the float32 rate. No measurement stands beside these yet: `make
gpu-proof` makes one. Limits as published: {limits}.

{chr(10).join(time_table())}

## What is not fused

Gathering active elements inside of the first projection, and scattering inside of the last, would save
of the bytes of a SeqBoat layer of D 512, d_qk 128, d_hidden 1024: {saved} active. Where little is
active that is nothing, and where everything is nothing needs to be gathered; in between, products of
our own would have to stay within those few percent of cuBLAS at every shape. It does not pay: gather,
product and scatter stay three operations.
"""
    page = PAGE.read_text()
    PAGE.write_text(page.split(BEGIN)[0].rstrip() + "\n\n" + wrapped(text))
    print(f"wrote {PAGE}")


if __name__ == "__main__":
    main()
