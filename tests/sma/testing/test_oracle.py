import torch
from torch import nn

from sma import Pointwise, Routing
from sma.testing import CausalMean, oracle


class TheirPositions(Pointwise):
    def __init__(self):
        super().__init__(nn.Identity())

    def forward(self, elements):
        return elements.position[:, None].to(elements.x) + 0 * elements.x


def test_by_hand():
    x = torch.tensor([[[1.0], [2.0], [6.0]], [[3.0], [4.0], [5.0]]])
    active = torch.tensor([[[True], [False], [True]], [[False], [True], [False]]])
    module = CausalMean(1)
    nn.init.ones_(module.linear.weight)
    y = oracle(x, Routing(active, torch.full((2, 3, 1), 0.5)), [module])
    assert y.squeeze(-1).tolist() == [[0.5, 0.0, 1.75], [0.0, 2.0, 0.0]]


def test_positions_count_real_elements():
    active = torch.tensor([[[False], [True], [False], [True]]])
    routing, x = Routing(active, torch.ones(1, 4, 1)), torch.zeros(1, 4, 1)
    mask = torch.tensor([[False, True, False, True]])
    assert oracle(x, routing, [TheirPositions()]).flatten().tolist() == [0, 1, 0, 3]
    assert oracle(x, routing, [TheirPositions()], mask).flatten().tolist() == [0, 0, 0, 1]


def test_empty_batches():
    for shape in ((0, 3), (2, 0)):
        routing = Routing(torch.zeros(*shape, 1, dtype=torch.bool), torch.zeros(*shape, 1))
        assert oracle(torch.zeros(*shape, 4), routing, [CausalMean(4)]).shape == (*shape, 4)
