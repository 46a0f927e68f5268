"""Compilation of kernels for GPUs that need not be there, and what the results take of their resources."""

import os
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import torch
from typing_extensions import override

from sma.modules.kernels.attention_op import (
    FUNCTIONS,
    attention_blocks,
    attention_constants,
    attention_widths,
)
from sma.modules.kernels.memory_op import memory_constants
from sma.modules.kernels.options import OPTIONS
from sma.modules.kernels.recurrence_op import recurrence_constants
from sma.modules.kernels.scan_op import scan_constants

DTYPES = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}


class Chip(NamedTuple):
    """A GPU that kernels are compiled for, and its limits as published.

    Attributes:
        name: what it is sold as.
        shared: bytes of shared memory that a program may use.
        bandwidth: bytes per second of its memory.
        half: operations per second in bfloat16 matrix products, without sparsity.
        single: operations per second in float32.
    """

    name: str
    shared: int
    bandwidth: float
    half: float
    single: float


CHIPS = {
    80: Chip("A100 80GB SXM", 163 * 1024, 2.039e12, 312e12, 19.5e12),
    90: Chip("H100 SXM", 227 * 1024, 3.35e12, 989e12, 67e12),
    100: Chip("B200", 227 * 1024, 8.0e12, 2250e12, 75e12),
}
"""By compute capability, 10 times major plus minor. https://www.nvidia.com/en-us/data-center"""


@dataclass(frozen=True)
class Configuration:
    """A kernel with all that it is compiled for.

    Attributes:
        file: the module of the kernel, in this package.
        kernel: its name there.
        dtype: of its tensors.
        constants: what is fixed at compile time, in capitals, and the compiler's options.
    """

    file: str
    kernel: str
    dtype: torch.dtype
    constants: Mapping[str, Any]

    @override
    def __str__(self) -> str:
        fixed = ", ".join(f"{name}={value}" for name, value in self.constants.items() if name.isupper())
        return f"{self.kernel} {DTYPES[self.dtype]} {fixed}"


@dataclass(frozen=True)
class Resources:
    """What one program of a compiled kernel takes.

    Attributes:
        registers: of each thread; at most 255.
        spills: bytes of each thread that did not fit into registers; 0 unless something is wrong.
        shared: bytes of shared memory.
        size: bytes of the cubin.
    """

    registers: int
    spills: int
    shared: int
    size: int


def attention_configurations() -> Iterator[Configuration]:
    """All that windowed attention may choose."""
    for dtype in DTYPES:
        block = attention_blocks(dtype).block
        yield Configuration("attention_kernels", "ranges_kernel", dtype, {"BLOCK": block, **OPTIONS})
        for width in attention_widths(dtype):
            of_sums = {"BLOCK": block, "WIDTH": width, **OPTIONS}
            yield Configuration("attention_kernels", "sums_kernel", dtype, of_sums)
            for function, bias, dropout in product(FUNCTIONS, (False, True), (False, True)):
                constants = attention_constants(function, dtype, width, bias=bias, dropout=dropout)
                for kernel in ("forward", "queries", "keys", "values"):
                    yield Configuration("attention_kernels", f"{kernel}_kernel", dtype, constants)


def memory_configurations() -> Iterator[Configuration]:
    """All that a decoding step may choose."""
    for dtype, function, bias in product(DTYPES, FUNCTIONS, range(3)):
        yield Configuration("memory_kernels", "memory_kernel", dtype, memory_constants(function, bias))


def recurrence_configurations() -> Iterator[Configuration]:
    """All that the diagonal recurrence may choose."""
    common = ("COMPLEX", "TRUNCATED", "REVERSE")
    for kernel, names in (
        ("chunk_states", ("SENSITIVE", *common)),
        ("carry", ("SENSITIVE", "INITIAL", "COMPLEX")),
        ("chunk_outputs", common),
        ("chunk_gradients", common),
    ):
        yield from _of_choices("recurrence_kernels", kernel, recurrence_constants, *names)


def scan_configurations() -> Iterator[Configuration]:
    """All that the selective scan may choose."""
    for kernel, names in (
        ("scan_states", ("FROM_START",)),
        ("scan_carry", ("FIRST", "REVERSE")),
        ("scan_outputs", ("REVERSE",)),
    ):
        yield from _of_choices("scan_kernels", kernel, scan_constants, *names)


def configurations() -> Iterator[Configuration]:
    """All configurations of all kernels that may be chosen."""
    yield from attention_configurations()
    yield from memory_configurations()
    yield from recurrence_configurations()
    yield from scan_configurations()


def _of_choices(
    file: str, kernel: str, constants: Callable[..., Any], *names: str
) -> Iterator[Configuration]:
    for values in product((False, True), repeat=len(names)):
        fixed = constants(kernel, **dict(zip(names, values, strict=True)))
        yield Configuration(file, f"{kernel}_kernel", torch.float32, fixed)


def resources(configuration: Configuration, capability: int) -> Resources:
    """Compile a kernel for a compute capability, and read what it takes from the result.

    No GPU is needed. Triton must not be interpreting.

    Raises:
        RuntimeError: if the cubin cannot be read.
    """
    import triton
    from triton.backends.compiler import GPUTarget

    options = {k: v for k, v in configuration.constants.items() if not k.isupper()}
    compiled = triton.compile(
        _source(configuration),
        target=GPUTarget("cuda", capability, 32),
        options=options,
    )
    cubin = compiled.asm["cubin"]
    used = _usage(cubin)
    return Resources(used["REG"], used["STACK"] + used["LOCAL"], compiled.metadata.shared, len(cubin))


def _source(configuration: Configuration) -> Any:
    from importlib import import_module

    from triton.compiler import ASTSource

    kernel = getattr(import_module(f"sma.modules.kernels.{configuration.file}"), configuration.kernel)
    constants = {k: v for k, v in configuration.constants.items() if k.isupper()}
    signature, divisible = {}, {}
    for place, parameter in enumerate(kernel.params):
        name = parameter.name
        kind = "constexpr" if name in constants else _kind(name, DTYPES[configuration.dtype])
        signature[name] = kind
        if kind.startswith("*") or name in _DIVISIBLE:
            divisible[(place,)] = [["tt.divisibility", 16]]
    return ASTSource(fn=kernel, signature=signature, constexprs=constants, attrs=divisible)


_DIVISIBLE = {
    *("q_slot", "q_head", "k_slot", "k_head", "v_slot", "v_head", "d_qk", "d_v", "d_model", "n_states"),
    *("a_row", "a_time", "a_head", "b_row", "b_time", "b_head", "c_row", "c_time", "c_head", "d_a", "d_b"),
    *("d_in", "d_out", "size"),
}
"""Sizes that usually are multiples of 16, which Triton compiles for."""
_KINDS = {
    **dict.fromkeys(("row_ptr", "position_ptr", "ptr_ptr", "owner_ptr", "count_ptr", "places_ptr"), "*i64"),
    **dict.fromkeys(("ranges_ptr",), "*i32"),
    **dict.fromkeys(("lse_ptr", "delta_ptr", "table_ptr", "grad_table_ptr"), "*fp32"),
    **dict.fromkeys(("scale", "dropout"), "fp32"),
    "seed": "i64",
}
"""The types of parameters that are neither tensors of the configuration's dtype nor sizes."""


def _kind(name: str, dtype: str) -> str:
    return _KINDS.get(name, f"*{dtype}" if name.endswith("_ptr") else "i32")


def _usage(cubin: bytes) -> dict[str, int]:
    """What `cuobjdump -res-usage` says about a cubin with one kernel."""
    import triton

    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "kernel.cubin")
        Path(path).write_bytes(cubin)
        done = subprocess.run([tool, "-res-usage", path], capture_output=True, text=True)
    found = dict(re.findall(r"\b(REG|STACK|SHARED|LOCAL):(\d+)", done.stdout + done.stderr))
    if not {"REG", "STACK", "LOCAL"} <= set(found):
        raise RuntimeError(f"cuobjdump does not say what the kernel takes: {done.stdout}{done.stderr}")
    return {name: int(value) for name, value in found.items()}
