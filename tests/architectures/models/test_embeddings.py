import math

import pytest
import torch

from sma.architectures.models.embeddings import BagEmbedding, ScaledSinusoid


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_sinusoids_are_right_however_far(dtype):
    sinusoid = ScaledSinusoid(6).to(dtype)
    position = torch.tensor([[0, 5, 10**4], [2**24 + 1, 10**8 + 7, 10**10]])
    expected = torch.zeros(2, 3, 6, dtype=torch.float64)
    for b in range(2):
        for t in range(3):
            for i in range(3):
                angle = position[b, t].item() * 10000 ** (-2 * i / 6)
                expected[b, t, i], expected[b, t, 3 + i] = math.sin(angle), math.cos(angle)
    unit = max(torch.finfo(dtype).eps, 1e-5)
    got = sinusoid(position).double() / sinusoid.scale.double()
    torch.testing.assert_close(got, expected, rtol=2 * unit, atol=2 * unit)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("n_tokens", [3, 20000, 70000])
def test_means_of_large_bags(dtype, n_tokens):
    embedding = BagEmbedding(2, vocab_size=3).to(dtype)
    with torch.no_grad():
        embedding.weight.fill_(4.0)
    bags = torch.ones(1, 1, n_tokens, dtype=torch.long)
    assert embedding(bags).tolist() == [[[4.0, 4.0]]]
