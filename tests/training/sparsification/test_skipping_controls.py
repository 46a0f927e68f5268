"""Controls: random skipping at given rates, and the parts whose loss does least harm."""

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

import sma
from sma.training.sparsification.skipping_controls import choose_dropped, drop_parts, skip_at_random
from sma.transformers import routed_parts


def sparsified(**fields):
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 4, "num_attention_heads": 2}
    config = LlamaConfig(**sizes, num_key_value_heads=2, vocab_size=30)
    return sma.sparsify(LlamaForCausalLM(config).eval(), **fields)


INPUTS = {"input_ids": torch.arange(400).view(2, 200) % 30}


def rates(model):
    with torch.no_grad(), sma.record(model) as recording:
        model(**INPUTS)
    return {name: rate for name, (rate,) in recording.activation_rates.items()}


def test_random_routers_have_the_rates_that_they_are_given():
    model = sparsified()
    wanted = dict(zip(routed_parts(model), (0.2, 0.5, 0.9, 0.0), strict=True))
    move = skip_at_random(model, wanted, seed=3)
    assert set(rates(model).values()) == {1.0}
    move(0.25)
    assert rates(model) == pytest.approx({name: (1 + rate) / 2 for name, rate in wanted.items()}, abs=0.1)
    move(1.0)
    assert rates(model) == pytest.approx(wanted, abs=0.1)
    move = skip_at_random(model, wanted, ramp=1.0, seed=3)
    move(0.5)
    assert rates(model) == pytest.approx({name: (1 + rate) / 2 for name, rate in wanted.items()}, abs=0.1)
    with pytest.raises(ValueError, match=r"ramp is a share of the training and must be in \(0, 1\], got 0"):
        skip_at_random(model, wanted, ramp=0)
    with pytest.raises(ValueError, match=r"parts without a rate: model\.layers\.1\.mlp"):
        skip_at_random(model, {name: 0.5 for name in wanted if ".1." not in name})


def test_random_routers_draw_anew_for_every_element_part_and_call():
    """And the same with the same seed; padding is never active."""
    model = sparsified()
    skip_at_random(model, dict.fromkeys(routed_parts(model), 0.5), seed=3)(1.0)
    routers = [part.router for part in routed_parts(model).values()]
    x, mask = torch.zeros(2, 40, 16), torch.ones(2, 40, dtype=torch.bool)
    mask[1, 30:] = False
    drawn = [router(x, mask).active[..., 0] for router in (*routers, routers[0])]
    rows = [row for active in drawn for row in active[:, :30]]
    assert all(not torch.equal(row, other) for i, row in enumerate(rows) for other in rows[:i])
    assert not any(active[1, 30:].any() for active in drawn)
    skip_at_random(model, dict.fromkeys(routed_parts(model), 0.5), seed=3)(1.0)
    again = next(part.router for part in routed_parts(model).values())
    assert torch.equal(again(x, mask).active[..., 0], drawn[0])


def test_dropped_parts_are_those_of_least_damage():
    """Each part has its price; dropping two saves the wanted operations."""
    model = sparsified()
    names = list(routed_parts(model))
    price = dict(zip(names, (4.0, 1.0, 3.0, 2.0), strict=True))

    def damage():
        return sum(price[name] for name, rate in rates(model).items() if rate == 0)

    per_part = 400 * 3 * 2 * 16 * 24
    assert choose_dropped(model, INPUTS, 2 * per_part + 5, damage) == [names[1], names[3]]
    assert rates(model) == {name: float(name in (names[0], names[2])) for name in names}
    assert choose_dropped(model, INPUTS, per_part // 3, damage) == []
    assert set(choose_dropped(model, INPUTS, 100 * per_part, damage)) == set(names)


def test_damage_is_weighed_by_what_a_part_saves():
    """A feed-forward saves more than the attention here, and may do more damage."""
    model = sparsified(parts=("feed_forward", "attention"))
    attention, feed_forward = (next(n for n in routed_parts(model) if end in n) for end in ("attn", "mlp"))

    def damage():
        skipped = {name for name, rate in rates(model).items() if rate == 0}
        others = skipped - {attention, feed_forward}
        return 1.0 * (attention in skipped) + 1.5 * (feed_forward in skipped) + 9 * len(others)

    per_feed_forward = 400 * 3 * 2 * 16 * 24
    assert choose_dropped(model, INPUTS, per_feed_forward, damage) == [feed_forward]


def test_unknown_parts_are_named():
    with pytest.raises(ValueError, match=r"no routed part 'layers\.9'; there are: model\.layers\.0\.mlp"):
        drop_parts(sparsified(), ["layers.9"])
