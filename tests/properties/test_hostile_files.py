"""Files made to hurt are answered within a second, without memory, by an error that says what is wrong."""

import gc
import resource
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from sma.architectures import load_spec, seqboat

LAYERS = 11
SPEC = "kind: sequence_model\nd_model: 32\nembedding: {kind: tokens, vocab_size: 9}\nhead: language_model\n"
LINEAR = {"kind": "residual", "branches": ["linear"]}


def laughs(first, again):
    """Anchors, each of which repeats the one before nine times: 9 ** 11 parts in a kilobyte."""
    lines = [f"- &a0 {first}"]
    lines += [f"- &a{i} {again % ', '.join([f'*a{i - 1}'] * 9)}" for i in range(1, LAYERS + 1)]
    return "\n".join(lines)


def nested(wrap, times, part=LINEAR):
    for i in range(times):
        part = wrap(part, i)
    return {**yaml.safe_load(SPEC), "blocks": [part]}


def stack_of_two(part, _):
    return {"kind": "stack", "blocks": [part, part]}


def stack_of_unlike(part, i):
    return {"kind": "stack", "blocks": [part, {**LINEAR, "dropout": i / 100}]}


def routed_blocks(part, _):
    routed = {
        "kind": "sma",
        "router": "always",
        "modules": [{"kind": "layer", "layer": stack_of_two(part, None)}],
    }
    return {"kind": "residual", "branches": [routed]}


def modules(parts):
    sma = {"kind": "sma", "router": "sigmoid", "modules": parts}
    return {**yaml.safe_load(SPEC), "blocks": [{"kind": "residual", "branches": [sma]}]}


REFUSED = {
    "laughs in stacks": (
        f"{SPEC}blocks:\n{laughs('{kind: residual, branches: [linear]}', '{kind: stack, blocks: [%s]}')}",
        "more than 10,000 parts",
    ),
    "laughs in lists": (f"{SPEC}blocks:\n{laughs('[x]', '[%s]')}", "blocks.0\n  needs a `kind`"),
    "a block in itself": (f"{SPEC}blocks:\n- &a {{kind: stack, blocks: [*a]}}", "more than 32 deep"),
    "a list in itself": (f"{SPEC}blocks: &a [*a]", "needs a `kind`"),
    "a spec in itself": (
        "&a\nkind: sequence_model\nd_model: 8\nembedding: *a\nblocks: [*a]\nhead: *a",
        "kind",
    ),
    "merges of merges": (
        "\n".join(
            ["x0: &x0 {a: 1, b: 2}"]
            + [f"x{i}: &x{i} {{<<: [{', '.join([f'*x{i - 1}'] * 10)}]}}" for i in range(1, 9)]
        ),
        "more than 1,000 fields are merged",
    ),
    "a merge of itself": ("&a\nkind: sequence_model\n<<: *a", "d_model|not valid YAML"),
    "two in each of 29 stacks": (yaml.safe_dump(nested(stack_of_two, 29)), "parts|blocks, more than 4096"),
    "repeats of repeats": (
        yaml.safe_dump(nested(lambda part, _: {"kind": "stack", "repeat": 2**24, "blocks": [part]}, 5)),
        "blocks, more than 4096",
    ),
    "more blocks than one may list": (f"{SPEC}blocks: [{', '.join(['residual'] * 10_100)}]", "10,000 parts"),
    "many mistakes": (f"{SPEC}blocks: [{', '.join(['residal'] * 2_000)}]", "there are more mistakes"),
    "a long name": (f"kind: {'x' * 100_000}", "unknown kind"),
    "many layers": ("{preset: transformer, d_model: 8, n_layers: 99999999999, vocab_size: 9}", "4096"),
    "wide": (SPEC.replace("32", "16777216") + "blocks: [{kind: residual, branches: [linear]}]", "parameters"),
}
ACCEPTED = {
    "1,024 blocks in stacks": yaml.safe_dump(nested(stack_of_two, 10)),
    "unlike stacks": yaml.safe_dump(nested(stack_of_unlike, 28)),
    "routed blocks in routed blocks": yaml.safe_dump(nested(routed_blocks, 7)),
    "3,000 equal modules": yaml.safe_dump(modules(["gau"] * 3_000)),
    "huge sizes": yaml.safe_dump(modules([{"kind": "gau", "d_qk": 2**24, "d_hidden": 2**24}])),
    "100 unlike modules": yaml.safe_dump(modules([{"kind": "gau", "window": n} for n in range(1, 101)])),
}


@pytest.fixture(scope="module", autouse=True)
def warm():
    """The imports and compilations that happen once."""
    seqboat(vocab_size=9, d_model=8, n_layers=1)


@contextmanager
def little_memory():
    """Inside, a gigabyte more than now is a MemoryError, where the system says how much there is now."""
    now = Path("/proc/self/statm")
    if not now.exists():
        yield
        return
    limits = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(now.read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 2**30, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


def answer(path, text):
    path.write_text(text)
    gc.freeze()  # what the tests before left behind is not searched for garbage meanwhile
    start = time.process_time()  # others may use the machine
    try:
        with little_memory():
            return load_spec(path)
    except ValueError as error:
        return error
    finally:
        gc.unfreeze()
        assert time.process_time() - start < 1


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="this system does not say what is in use")
def test_memory_is_really_limited():
    with little_memory(), pytest.raises(MemoryError):
        bytearray(2**31)


@pytest.mark.parametrize("name", REFUSED)
def test_is_refused(tmp_path, name):
    text, message = REFUSED[name]
    error = answer(tmp_path / "spec.yaml", text)
    assert isinstance(error, ValueError)
    with pytest.raises(ValueError, match=message):
        raise error
    assert len(str(error)) < 5_000


@pytest.mark.parametrize("name", ACCEPTED)
def test_is_accepted(tmp_path, name):
    assert answer(tmp_path / "spec.yaml", ACCEPTED[name]).d_model == 32
