"""The note on tints in a report."""

import torch

from sma.activation_map import ActivationMap
from sma.training.tasks.section import tint_note


def test_the_share_of_activations_is_told():
    maps = [
        ActivationMap(torch.tensor([[True, False], [True, True]]), ("layer 1", "layer 2")),
        ActivationMap(torch.tensor([[False, False]]), ("layer 1", "layer 2")),
    ]
    note = tint_note(maps, "pixel")
    assert "The darker a pixel, the more of 2 routed sub-modules" in note
    assert "On average 50% of them" in note
    assert note.count("<span") == 3  # the tints of 0, 1 and 2


def test_a_model_without_routing_is_not_said_to_activate():
    note = tint_note([ActivationMap.none(3)], "character")
    assert "has no routed sub-modules" in note
    assert "activated" not in note
    assert "<span" not in note
