"""Pictures of architectures: what is drawn as routed, and the width of the table of parts."""

import pytest
from rich.console import Console

from sma.architectures import mixture_of_depths, seqboat, switch
from sma.architectures.specs.sma import SMASpec
from sma.training.report.description import PartCost, describe, operations
from sma.training.report.picture import parts_table, picture


def printed(drawing, width: int = 120) -> list[str]:  # type: ignore[no-untyped-def]
    console = Console(width=width)
    with console.capture() as capture:
        console.print(drawing)
    return capture.get().splitlines()


def drawn(spec) -> list[str]:  # type: ignore[no-untyped-def]
    return [line.strip("│├└─\xa0 ") for line in printed(picture(spec))]


def test_experts_are_routed() -> None:
    lines = drawn(switch(vocab_size=8, d_model=8, n_layers=1, n_heads=2))
    assert [line.split("  ")[0] for line in lines if "routed" in line] == [
        "branches: mixture_of_experts (routed)"
    ]


def test_sub_modules_are_routed_and_wrapped_routers_are_not() -> None:
    budget = {"kind": "activation_budget", "router": "never", "rate": 0.5, "coefficient": 1}
    spec = SMASpec.model_validate(
        {"router": budget, "modules": ["gau", {"kind": "feed_forward", "d_hidden": 8}]}
    )
    assert [line.split("  ")[0] for line in drawn(spec)] == [
        "sma",
        "router: activation_budget",
        "router: never",
        "routed: gau",
        "routed: feed_forward",
    ]
    depths = drawn(mixture_of_depths(vocab_size=8, d_model=8, n_layers=2, n_heads=2))
    assert [line for line in depths if "routed" in line] == ["routed: layer  change_only True"]


@pytest.mark.parametrize("width", [80, 100])
@pytest.mark.parametrize("preset", [seqboat, mixture_of_depths])
def test_names_break_after_dots_only(preset, width) -> None:  # type: ignore[no-untyped-def]
    parts = describe(preset(vocab_size=256, d_model=128, n_layers=4).build())
    lines = printed(parts_table("a", parts, {"all": operations(parts)[0]}, width), width)
    assert max(map(len, lines)) <= width
    column = lines[1].index("kind")
    words = {word for part in parts for word in part.name.split(".")}
    shown = [line[:column].strip() for line in lines[3 : lines.index(" " * len(lines[0]))]]
    assert {word for name in shown for word in name.split(".")} - {""} == words
    assert {part.kind for part in parts} <= {word for line in lines for word in line.split()}


def test_totals_over_parts_that_do_not_count_are_lower_bounds() -> None:
    parts = [PartCost("a", "Linear", 3, 10.0, count=2), PartCost("norm", "Norm", 1, 0.0)]
    totals = {"all, nothing active": 20.0, "all, at most": 1020.0}
    (counted,) = (line.split() for line in printed(parts_table("t", parts, totals, 80)) if "nothing" in line)
    assert counted[-2:] == ["7", "20"]
    lines = printed(parts_table("t", [*parts, PartCost("b", "Other", 2, None, routed=True)], totals, 80))
    rows = {line.split("  ")[0]: line.split() for line in lines if line.strip()}
    assert rows["a"][-3:] == ["2", "x", "10"]
    assert rows["norm"][-1] == "-"
    assert rows["b"][1:] == ["Other", "(routed)", "2", "not", "counted"]
    assert rows["all, nothing active"][-4:] == ["9", "at", "least", "20"]
    assert rows["all, at most"][-4:] == ["most", "at", "least", "1,020"]
