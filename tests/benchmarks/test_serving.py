"""Both sides of the benchmark of serving, on requests that are all there."""

import pytest
import torch

from benchmarks.serving import Request, random_requests, running, serve, waiting
from sma.architectures import seqboat


@pytest.mark.parametrize("side", [running, waiting])
def test_every_request_gets_its_tokens(side):
    torch.manual_seed(0)
    model = (
        seqboat(vocab_size=256, d_model=8, n_layers=1, d_qk=4, window=3, d_state=2).build().double().eval()
    )
    requests = [Request([i, 2, 3][: 1 + i % 3], 2 + i % 5, arrival=0.0) for i in range(20)]
    result, tokens = serve(side, model, requests)
    for request, made in zip(requests, tokens, strict=True):
        row = list(request.prompt)
        for _ in range(request.n_tokens):
            row.append(int(model(torch.tensor([row]))[0, -1].argmax()))
        assert made == row[len(request.prompt) :]
    assert result.speed > 0
    assert 0 < result.first < result.last
    assert result.gap < result.last


def test_requests_arrive_one_after_another():
    requests = random_requests(50, seed=1)
    arrivals = [request.arrival for request in requests]
    assert arrivals == sorted(arrivals)
    assert requests == random_requests(50, seed=1) != random_requests(50, seed=2)
