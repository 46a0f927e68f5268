"""What is drawn as routed."""

from rich.console import Console

from sma.architectures import mixture_of_depths, switch
from sma.architectures.layers import SMASpec
from sma.training.picture import picture


def drawn(spec) -> list[str]:  # type: ignore[no-untyped-def]
    console = Console(width=120)
    with console.capture() as capture:
        console.print(picture(spec))
    return [line.strip("│├└─\xa0 ") for line in capture.get().splitlines()]


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
    assert [line for line in depths if "routed" in line] == ["routed: blocks"]
