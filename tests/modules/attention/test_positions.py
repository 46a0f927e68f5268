import math
from dataclasses import replace

import pytest
import torch

from sma import PackedCompaction
from sma.modules.attention.positions import LearnedBias, NoPosition, RankBias, Rotary, T5Bias
from sma.modules.attention.windowed import windowed_attention


def turned(z, position, base):
    """One vector, pair by pair, with the rotation written out."""
    result = []
    for i in range(len(z) // 2):
        angle = position * base ** (-2 * i / len(z))
        a, b = z[2 * i].item(), z[2 * i + 1].item()
        result += [a * math.cos(angle) - b * math.sin(angle), a * math.sin(angle) + b * math.cos(angle)]
    return torch.tensor(result, dtype=torch.float64)


@pytest.mark.parametrize("base", [10000.0, 50.0])
def test_rotary_turns_pairs(base):
    z, position = torch.randn(5, 6, dtype=torch.float64), torch.tensor([0, 3, 1, 700, 20])
    expected = torch.stack([turned(row, p.item(), base) for row, p in zip(z, position, strict=True)])
    torch.testing.assert_close(Rotary(6, base=base).rotate(z, position), expected)


def test_rotary_treats_heads_alike():
    rotary, z, position = Rotary(4), torch.randn(5, 3, 4), torch.arange(5)
    expected = torch.stack([rotary.rotate(z[:, h], position) for h in range(3)], 1)
    torch.testing.assert_close(rotary.rotate(z, position), expected)


def test_rotary_products_depend_on_the_difference_alone():
    rotary, q, k = Rotary(8), torch.randn(1, 8).double(), torch.randn(1, 8).double()

    def product(at_q, at_k):
        turned_q, turned_k = (rotary.rotate(z, torch.tensor([p])) for z, p in ((q, at_q), (k, at_k)))
        return (turned_q * turned_k).sum()

    torch.testing.assert_close(product(5, 2), product(1005, 1002))


def test_rotary_in_half_precision_keeps_angles_exact():
    z, position = torch.randn(3, 8, dtype=torch.bfloat16), torch.tensor([0, 999, 12345])
    turned = Rotary(8).to(torch.bfloat16).rotate(z, position)
    assert turned.dtype == torch.bfloat16
    torch.testing.assert_close(turned.double(), Rotary(8).rotate(z.double(), position), rtol=0.01, atol=0.02)


@pytest.mark.parametrize("positions", [[0, 1023], [1024, 3], [-5, 3], [2**17 - 1, 0], [2**17, 1]])
def test_rotary_is_the_same_within_its_table_and_beyond(positions):
    z, position = torch.randn(2, 6, dtype=torch.float64), torch.tensor(positions)
    expected = torch.stack([turned(row, p, 77.0) for row, p in zip(z, positions, strict=True)])
    for _ in range(2):  # before and after a table has grown
        torch.testing.assert_close(Rotary(6, base=77.0).rotate(z, position), expected, rtol=0, atol=1e-9)


def test_rotary_tables_of_inference_mode_serve_training():
    z, position = torch.randn(1, 6, requires_grad=True), torch.tensor([1])
    with torch.inference_mode():
        Rotary(6, base=78.0).rotate(torch.randn(1, 6), torch.tensor([1]))
    Rotary(6, base=78.0).rotate(z, position).sum().backward()
    assert z.grad.isfinite().all()


def test_rotary_of_no_elements():
    assert Rotary(4).rotate(torch.randn(0, 2, 4), torch.zeros(0, dtype=torch.long)).shape == (0, 2, 4)


def test_learned_bias_clamps_offsets_beyond_its_ends():
    position = LearnedBias(4)
    bias = position.bias()
    assert not bias.by_rank
    for offset in range(-9, 10):
        entry = min(max(offset, -3), 3) + 3
        assert bias(torch.tensor([offset])) == position.weight[entry]


@pytest.mark.parametrize(("bidirectional", "last"), [(False, 0), (True, 5)])
def test_rank_bias_has_the_entries_of_its_window(bidirectional, last):
    position = RankBias(5, bidirectional=bidirectional)
    bias = position.bias()
    assert bias.by_rank
    torch.testing.assert_close(bias(torch.arange(-5, last + 1)), position.weight, rtol=0, atol=0)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize(("n_buckets", "max_distance"), [(32, 128), (8, 20)])
def test_t5_buckets(bidirectional, n_buckets, max_distance):
    position = T5Bias(n_buckets=n_buckets, max_distance=max_distance, bidirectional=bidirectional)
    n = n_buckets // 2 if bidirectional else n_buckets
    single = n // 2
    for offset in range(-2 * max_distance, 2 * max_distance):
        distance = abs(offset) if bidirectional else max(-offset, 0)
        grown = single + math.log(max(distance, 1) / single) / math.log(max_distance / single) * (n - single)
        allowed = {distance} if distance < single else {min(int(grown + e), n - 1) for e in (-1e-5, 1e-5)}
        shift = n if bidirectional and offset > 0 else 0
        bucket = position.bucket(torch.tensor([offset])).item()
        assert bucket - shift in allowed
        assert position.bias()(torch.tensor([offset])) == position.weight[bucket]


def test_tables_start_small():
    for position in (LearnedBias(1000), RankBias(1000), T5Bias(n_buckets=1000, max_distance=2000)):
        assert 0.01 < position.weight.std() < 0.03
        assert position.weight.abs().max() <= 0.04


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Rotary(7), "d_qk=7"),
        (lambda: Rotary(0), "d_qk=0"),
        (lambda: Rotary(4, base=1), "base=1"),
        (lambda: LearnedBias(0), "max_positions=0"),
        (lambda: RankBias(0), "window=0"),
        (lambda: T5Bias(n_buckets=1), "n_buckets=1"),
        (lambda: T5Bias(n_buckets=7, bidirectional=True), "n_buckets=7"),
        (lambda: T5Bias(max_distance=16), "max_distance=16"),
        (lambda: Rotary(4).check(d_qk=6, bidirectional=False), "d_qk=6"),
        (lambda: RankBias(4).check(d_qk=6, bidirectional=True), "bidirectional=True"),
    ],
)
def test_errors_name_the_argument(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_kinds_without_a_direction_fit_any():
    for position in (NoPosition(), LearnedBias(3), Rotary(4)):
        position.check(d_qk=4, bidirectional=True)
        position.check(d_qk=4, bidirectional=False)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("base", [10000.0, 50.0])
def test_rotary_is_right_however_far(dtype, base):
    z = torch.randn(6, 8, dtype=torch.float64).to(dtype)
    position = torch.tensor([10**4, 10**6, 2**24 + 1, 10**8 + 7, 2**31 + 3, 10**10])
    expected = torch.stack([turned(row, p.item(), base) for row, p in zip(z.double(), position, strict=True)])
    unit = max(torch.finfo(dtype).eps, 1e-5)
    got = Rotary(8, base=base).to(dtype).rotate(z, position)
    torch.testing.assert_close(got.double(), expected, rtol=unit, atol=4 * unit)


@pytest.mark.parametrize("gap", [10**4, 2**24, 2**31 + 5, 10**11])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_biases_of_far_offsets_are_those_at_the_ends(gap, bidirectional):
    """Also in attention, which narrows offsets to 32 bits where they fit."""
    torch.manual_seed(0)
    at = torch.tensor([0, 1, gap, gap + 3, 2 * gap])
    elements = PackedCompaction().compress(torch.zeros(1, 5, 4), torch.ones(1, 5, dtype=torch.bool))
    elements = replace(elements, position=at)
    q, k = torch.randn(2, 5, 4, dtype=torch.float64)
    seen = torch.ones(5, 5, dtype=torch.bool)
    seen = seen if bidirectional else seen.tril()
    for position in (LearnedBias(5), T5Bias(max_distance=20, bidirectional=bidirectional)):
        reach = len(position.bias().values) // 2
        offset = (at - at[:, None]).clamp(-reach, reach)
        bias = position.bias().values.double()[offset + reach]
        weights = (q @ k.T / 2 + bias).masked_fill(~seen, -torch.inf).softmax(-1)
        options = {"window": 4, "bidirectional": bidirectional, "bias": position.bias()}
        got = windowed_attention(q, k, torch.eye(5, dtype=torch.float64), elements, **options)
        torch.testing.assert_close(got, weights)
