import pytest
import torch

from sma.architectures.models.embeddings import TokenEmbedding
from sma.architectures.models.heads import LanguageModelHead, first, mean_pool


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("length", [1, 1000, 20000, 70000])
@pytest.mark.parametrize("masked", [False, True])
def test_means_of_long_rows(dtype, length, masked):
    torch.manual_seed(0)
    x = (4 + torch.randn(2, length, 2)).to(dtype)
    mask = torch.arange(length) < torch.tensor([[length], [length // 2]]) if masked else None
    want = (
        torch.stack([row[: n.sum()].double().mean(0) for row, n in zip(x, mask, strict=True)])
        if masked
        else x.double().mean(1)
    )
    got = mean_pool(x, mask)
    assert got.dtype == dtype
    torch.testing.assert_close(got.double(), want.nan_to_num(), rtol=torch.finfo(dtype).eps, atol=1e-6)


def test_a_row_without_elements_has_the_mean_0():
    x = torch.full((1, 3, 2), torch.nan)
    assert mean_pool(x, torch.zeros(1, 3, dtype=torch.bool)).tolist() == [[0, 0]]
    assert mean_pool(x[:, :0], None).tolist() == [[0, 0]]


def test_the_first_element_of_rows_without_any_is_0():
    for mask in (None, torch.zeros(2, 0, dtype=torch.bool)):
        assert torch.equal(first(torch.zeros(2, 0, 3), mask), torch.zeros(2, 3))


def test_a_head_of_its_own_has_its_own_matrix():
    embedding = TokenEmbedding(16, vocab_size=20)
    head = LanguageModelHead(16, embedding=embedding, tie_embedding=False)
    assert [name for name, _ in head.named_parameters()] == ["output.weight"]
    assert head.embedding is None
    x = torch.randn(2, 3, 16)
    torch.testing.assert_close(head(x), x @ head.weight.T)
    assert head.weight is not embedding.weight


def test_a_tied_head_reads_the_matrix_of_the_embedding():
    embedding = TokenEmbedding(16, vocab_size=20)
    head = LanguageModelHead(16, embedding=embedding)
    assert head.embedding is embedding
    assert not list(head.parameters())
    x = torch.randn(2, 3, 16)
    torch.testing.assert_close(head(x), x @ embedding.weight.T)
    assert head.flops(3) == 2 * 3 * 20 * 16
