import copy

import pytest
import torch

from sma.transformers import StateCache


@pytest.fixture
def cache(plain, tokens):
    cache = StateCache()
    with torch.no_grad():
        cache.advance(plain, tokens, None)
    return cache


def test_a_cache_counts_what_it_has_seen(cache):
    assert (cache.get_seq_length(), cache.get_max_length(), cache.batch_size, len(cache)) == (9, -1, 3, 2)
    assert cache.get_mask_sizes(1) == (10, 0)
    assert not cache.is_compileable
    assert not cache.is_croppable
    assert repr(cache).startswith("StateCache(length=9, state=SequenceModelState of 3 rows: ")
    cache.reset()
    assert (cache.get_seq_length(), cache.batch_size, len(cache), cache.state) == (0, -1, 0, None)


def test_rows_are_reordered_and_repeated(cache, plain, tokens):
    order = torch.tensor([2, 0, 0])
    chosen = copy.deepcopy(cache)
    chosen.reorder_cache(order)
    again = copy.deepcopy(cache)
    again.batch_repeat_interleave(2)
    token = torch.tensor([[5]])
    with torch.no_grad():
        expected = plain(torch.cat([tokens, token.expand(3, -1)], 1))[:, -1:]
        torch.testing.assert_close(chosen.advance(plain, token.expand(3, -1), None), expected[order])
        twice = again.advance(plain, token.expand(6, -1), None)
        torch.testing.assert_close(twice, expected.repeat_interleave(2, 0))
        torch.testing.assert_close(cache.advance(plain, token.expand(3, -1), None), expected)


def test_an_empty_cache_can_be_reordered():
    cache = StateCache()
    cache.reorder_cache(torch.tensor([0]))
    cache.batch_repeat_interleave(3)
    assert cache.state is None


def test_a_state_does_not_go_back(cache):
    cache.crop(0)
    with pytest.raises(ValueError, match=r"tokens_to_remove=-2: .*copy.deepcopy"):
        cache.crop(-2)
    with pytest.raises(ValueError, match="pass it as past_key_values"):
        cache.update(None, None, 0)


def test_another_batch_is_refused(cache, plain):
    with pytest.raises(ValueError, match="the state holds 3 rows, but there are 2 in the input"):
        cache.advance(plain, torch.zeros(2, 1, dtype=torch.long), None)
