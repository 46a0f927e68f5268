"""The choice of tokens against probabilities that are known."""

import math

import pytest
import torch

from sma.decoding import Sampling, choose

PROBABILITY = [0.1, 0.5, 0.15, 0.25]


def draw(scores, n, **options):
    """Classes drawn for n rows of the same scores, with one generator."""
    generator = torch.Generator().manual_seed(0)
    settings = Sampling(**options)
    return choose(scores.expand(n, -1), [settings] * n, [generator] * n)


def test_top_k_and_top_p_keep_the_most_probable():
    scores = torch.tensor([PROBABILITY]).log()
    drawn = {
        options: set(draw(scores, 200, **dict(options)))
        for options in ((), (("top_k", 2),), (("top_p", 0.76),), (("top_k", 3), ("top_p", 0.3)))
    }
    assert list(drawn.values()) == [{0, 1, 2, 3}, {1, 3}, {1, 2, 3}, {1}]


@pytest.mark.parametrize("options", [{}, {"top_k": 4}])
def test_classes_are_as_frequent_as_they_are_probable(options):
    n = 4000
    drawn = draw(torch.tensor([PROBABILITY]).log(), n, **options)
    for number, probability in enumerate(PROBABILITY):
        deviation = math.sqrt(n * probability * (1 - probability))
        assert abs(drawn.count(number) - n * probability) < 4 * deviation


def test_temperature_divides_the_scores():
    drawn = draw(torch.tensor([[0.0, 2.0]]), 4000, temperature=2.0)
    assert drawn.count(1) / 4000 == pytest.approx(1 / (1 + math.exp(-1)), abs=0.03)


def test_the_most_probable_is_kept_however_small_top_p_is():
    assert draw(torch.tensor([[0.0, 3.0, 1.0]]), 1, top_p=1e-300) == [1]


def test_a_temperature_near_zero_takes_the_most_probable():
    scores = torch.tensor([[3.0, 5.0, 4.999, -1e30]])
    assert {draw(scores, 1, temperature=t)[0] for t in (0.0, 1e-300, 1e-40, 1e-6)} == {1}


def test_a_row_does_not_depend_on_the_others():
    torch.manual_seed(0)
    settings = [
        Sampling(temperature=0),
        Sampling(seed=1),
        Sampling(seed=2, top_k=3),
        Sampling(seed=3, temperature=0.5, top_p=0.7),
        Sampling(seed=4, top_k=5, top_p=0.9),
    ]
    scores = torch.randn(len(settings), 11)

    def generators():
        return [torch.Generator().manual_seed(setting.seed) for setting in settings]

    alone = [choose(scores[[row]], [settings[row]], [generators()[row]])[0] for row in range(len(settings))]
    assert choose(scores, settings, generators()) == alone


def test_no_rows():
    assert choose(torch.zeros(0, 5), [], []) == []
