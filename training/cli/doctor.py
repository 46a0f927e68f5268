"""The command that says what this machine offers, and which backends compute."""

import platform
from importlib.metadata import PackageNotFoundError, version

_PACKAGES = ("torch", "triton", "numpy", "pydantic", "torch-geometric", "transformers")


def doctor() -> None:
    """Show versions, devices and backends; compare every usable backend with plain torch, and time it.

    A backend that disagrees is switched off with a warning; SMA_PLAIN=OPERATION,... keeps it off.
    """
    import torch
    from rich.table import Table

    import sma
    from sma.training.cli.display import output
    from sma.training.inspection.backends import find_backends, threads

    console = output()
    console.print(f"sma {sma.__version__}, Python {platform.python_version()}, {platform.platform()}")
    console.print(", ".join(f"{name} {_version(name)}" for name in _PACKAGES))
    console.print(f"cpu: {threads()}")
    for i in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(i)
        console.print(
            f"cuda:{i}: {facts.name}, compute capability {facts.major}.{facts.minor}, "
            f"{facts.total_memory / 2**30:.0f} GiB"
        )
    columns = ("operation", "device", "dtype", "backend", "from float64", "time", "", "used")
    table = Table(*columns, title="Backends", title_justify="left")
    for found in find_backends():
        table.add_row(
            found.operation,
            found.device,
            str(found.dtype).removeprefix("torch."),
            found.backend,
            "" if found.difference is None else f"{found.difference:.1e}",
            "" if found.seconds is None else f"{1e3 * found.seconds:.2f} ms",
            found.reason or "",
            "yes" if found.used else "",
        )
    console.print(table)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"
