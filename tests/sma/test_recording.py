import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

from sma import SMA, CapacityCompaction, Recording, Router, Routing, naming, record
from sma.modules import GAU, FeedForward, GatedFeedForward
from sma.modules.adapters import SequenceSubModule
from sma.testing import CausalMean, FixedRouter, InputRouter

D = 4


class WithLoss(Router):
    def forward(self, x, mask=None):
        active = torch.ones(*x.shape[:2], 1, dtype=torch.bool)
        return Routing(active, active.to(x), {"budget": x.mean()})


def model(*routers):
    return nn.Sequential(*(SMA(router, [CausalMean(D)]) for router in routers))


def test_layers_are_recorded_in_order_with_their_names():
    net, x = model(InputRouter(1), InputRouter(1)), torch.randn(2, 3, D)
    with record(net) as recording:
        net(x)
    assert [layer.name for layer in recording.layers] == ["0", "1"]
    assert torch.equal(recording.layers[0].routing.active, x[..., :1] > 0)


def test_nothing_is_recorded_outside():
    net = model(InputRouter(1))
    with record(net) as recording:
        pass
    net(torch.randn(1, 2, D))
    assert recording.layers == []


def test_an_error_ends_the_recording():
    net = model(InputRouter(1))
    with pytest.raises(ZeroDivisionError), record() as recording:
        raise ZeroDivisionError
    net(torch.randn(1, 2, D))
    assert recording.layers == []


def test_a_recording_is_passed_on_where_it_is_asked_to_be():
    net = model(InputRouter(1), InputRouter(1))
    x = torch.randn(1, 2, D)
    with record() as outer:
        net[0](x)
        with record(net, passed_on=True) as inner:
            net(x)
            assert len(outer.layers) == 1
    assert [layer.name for layer in inner.layers] == ["0", "1"]
    assert [id(layer) for layer in outer.layers[1:]] == [id(layer) for layer in inner.layers]
    with record(net, passed_on=True) as alone:
        net(x)
    assert len(alone.layers) == 2


def test_nested_recordings_are_apart():
    net, x = model(InputRouter(1)), torch.randn(1, 2, D)
    with record(net) as outer:
        with record(net) as inner:
            net(x)
        net(x)
        net(x)
    assert (len(inner.layers), len(outer.layers)) == (1, 2)


def test_the_outermost_announced_model_gives_the_names():
    net = model(InputRouter(1))
    with record() as recording:
        with naming(nn.Sequential(net)), naming(net):
            net(torch.randn(1, 2, D))
        net(torch.randn(1, 2, D))
    assert [layer.name for layer in recording.layers] == ["0.0", ""]


def test_a_named_recording_ignores_announcements():
    net = model(InputRouter(1))
    with record(nn.Sequential(net)) as recording, naming(net):
        net(torch.randn(1, 2, D))
    assert recording.layers[0].name == "0.0"


def test_losses_are_summed_over_layers_with_gradient():
    net, x = model(WithLoss(1), InputRouter(1), WithLoss(1)), torch.ones(1, 2, D, requires_grad=True)
    with record() as recording:
        net(x)
    first, third = (recording.layers[i].routing.losses["budget"] for i in (0, 2))
    assert recording.losses == {"budget": first + third}
    recording.losses["budget"].backward()
    assert x.grad is not None


def test_rates_are_shares_of_the_real_elements():
    active = torch.tensor([[[True, False], [True, True], [False, False], [False, False]]])
    layer = SMA(FixedRouter(Routing(active, active.float())), [CausalMean(D), CausalMean(D)])
    with record(layer) as recording:
        layer(torch.ones(1, 4, D), torch.tensor([[True, True, False, False]]))
        layer(torch.ones(1, 4, D))
    assert recording.layers[0].activation_rate.tolist() == [1.0, 0.5]
    assert recording.layers[0].n_elements.tolist() == [2, 1]
    assert recording.activation_rates == {"": [0.75, 0.375]}


@pytest.mark.parametrize("named", [False, True])
def test_layers_of_one_name_are_told_apart(named):
    one, two = model(InputRouter(1)), SMA(InputRouter(2), [CausalMean(D), CausalMean(D)])
    active, idle = torch.ones(1, 3, D), -torch.ones(1, 3, D)
    with record() as recording:
        for layer, x in ((one, active), (two, active), (one, idle)):
            if named:
                with naming(nn.Sequential(layer)):
                    layer(x)
            else:
                layer(x)
    assert recording.activation_rates == (
        {"0.0": [0.5], "0": [1, 1]} if named else {"#0": [0.5], "#1": [1, 1]}
    )


def test_several_models_in_one_recording():
    with record() as recording:
        for router, n_modules in ((InputRouter(1), 1), (InputRouter(2), 2)):
            net = nn.Sequential(SMA(router, [CausalMean(D)] * n_modules))
            with naming(net):
                net(torch.ones(1, 3, D))
    assert recording.activation_rates == {"0#0": [1], "0#1": [1, 1]}


def test_a_recording_is_shown_in_a_line_per_layer():
    net = model(WithLoss(1), WithLoss(1))
    with record(net) as recording:
        net(torch.ones(1, 3, D))
    assert repr(recording).splitlines()[1:] == ["  0: 100.0%", "  1: 100.0%"]
    assert repr(recording.layers[1]) == "LayerRecord(name='1')"
    assert repr(Recording()).startswith("Recording of 0 calls")


def test_flops_are_summed_and_those_of_nested_layers_counted_once():
    inner = SMA(InputRouter(1), [FeedForward(D, d_hidden=5)])
    outer = SMA(InputRouter(1), [SequenceSubModule(inner)])
    with record(outer) as recording:
        outer(torch.ones(2, 3, D))
    assert recording.flops == {"": 0, "sub_modules.0.module": 6 * 2 * (2 * D * 5)}


def test_rates_of_an_empty_batch_are_zero():
    layer = SMA(InputRouter(1), [CausalMean(D)])
    with record() as recording:
        layer(torch.ones(0, 4, D))
    assert recording.layers[0].activation_rate.tolist() == [0.0]


def test_flops_count_what_the_sub_modules_received():
    layer = SMA(InputRouter(1), [CausalMean(D)], compaction=CapacityCompaction(2))
    with record() as recording:
        layer(torch.ones(2, 5, D))
    (call,) = recording.layers
    assert call.n_elements.tolist() == [4]
    assert call.overflow.tolist() == [6]
    assert call.flops == [2 * layer.sub_modules[0].flops(2)]  # two in each row


def run_counted(rate, **gau):
    """The record of attention and two feed-forwards, and what torch counts in each of their parts."""
    active = torch.rand(3, 20, 3, generator=torch.Generator().manual_seed(0)) < rate
    parts = [GAU(D, d_qk=4, d_hidden=6, **gau), FeedForward(D, d_hidden=5), GatedFeedForward(D, d_hidden=7)]
    layer = SMA(FixedRouter(Routing(active, active.float())), parts)
    with FlopCounterMode(display=False) as counter, record() as recording:
        layer(torch.randn(3, 20, D))
    counted = {name.rpartition("sub_modules.")[2]: c for name, c in counter.get_flop_counts().items()}
    (record_,) = recording.layers
    return record_, {name: sum(operations.values()) for name, operations in counted.items()}


def visible(n, window, bidirectional):
    """How many pairs of a query and a key that it sees there are in a row of n elements."""
    window = n if window is None else window
    return sum(abs(q - k) <= window and (bidirectional or k <= q) for q in range(n) for k in range(n))


@pytest.mark.parametrize("rate", [0, 0.1, 0.5, 1])
@pytest.mark.parametrize("window", [1, 3, 30, None])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_flops_are_those_that_torch_counts_and_those_of_visible_pairs(rate, window, bidirectional):
    call, counted = run_counted(rate, window=window, bidirectional=bidirectional)
    pairs = sum(visible(n, window, bidirectional) for n in call.received[:, 0].tolist())
    attention = 2 * pairs * (4 + 6)  # a product of queries and keys, and one with the values
    assert call.flops == [counted["0.input"] + counted["0.output"] + attention, counted["1"], counted["2"]]


def test_steps_are_recorded_too():
    layer = SMA(InputRouter(1), [CausalMean(D)])
    with record(layer) as recording, torch.no_grad():
        layer.step(torch.ones(2, 3, D), layer.init_state(2))
    assert recording.layers[0].mask.shape == (2, 3)


def test_losses_come_through_activation_checkpointing():
    grads = []
    for wrapped in (False, True):
        net, x = SMA(WithLoss(1), [CausalMean(D)]), torch.ones(1, 2, D, requires_grad=True)
        with record() as recording:
            y = checkpoint(net, x, use_reentrant=False) if wrapped else net(x)
        (0 * y.sum() + recording.losses["budget"]).backward()
        grads.append(x.grad)
    assert torch.equal(*grads)
    assert grads[0].abs().sum() > 0
