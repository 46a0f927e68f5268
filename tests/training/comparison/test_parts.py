"""Parts of specs as JSON values."""

from sma.architectures import mega_chunk, mixture_of_depths, seqboat
from sma.architectures.files.yaml import parse_spec
from sma.training.comparison.parts import dumped, first_value, of_kind, unrolled


def test_unrolled_models_are_the_same_models() -> None:
    for spec in (
        seqboat(vocab_size=7, d_model=8, n_layers=3, d_state=2),
        mega_chunk(vocab_size=7, d_model=8, n_layers=2, chunk=4),
        mixture_of_depths(vocab_size=7, d_model=8, n_layers=4, n_heads=2, max_positions=16),
    ):
        model = parse_spec(unrolled(dumped(spec))).build()
        shapes = {name: p.shape for name, p in model.named_parameters()}
        assert shapes == {name: p.shape for name, p in spec.build().named_parameters()}
        assert not [part for part in of_kind(unrolled(dumped(spec)), "residual") if part["repeat"] > 1]


def test_repeats_inside_a_routed_layer_become_a_stack() -> None:
    block = {"kind": "residual", "repeat": 2}
    found = unrolled({"blocks": [{"kind": "x", "modules": [{"kind": "layer", "layer": block}]}]})
    (layer,) = of_kind(found, "layer")
    assert layer["layer"] == {"kind": "stack", "repeat": 1, "blocks": [{"kind": "residual", "repeat": 1}] * 2}


def test_the_first_value_of_a_field() -> None:
    assert first_value([{"a": None}, {"b": {"a": 3}}, {"a": 4}], "a") == 3
    assert first_value({}, "a") is None
