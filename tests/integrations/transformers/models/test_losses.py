import pytest
import torch

from sma.transformers.models.losses import cross_entropy, share, with_routers

LOGITS = torch.randn(2, 6, 5, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([[0, 1, -100, 4, 2, -100], [-100] * 6])


def test_micro_batches_add_up_to_the_whole():
    whole = cross_entropy(LOGITS, LABELS, None)
    parts = [cross_entropy(LOGITS[:, rows], LABELS[:, rows], 4) for rows in (slice(0, 2), slice(2, 6))]
    torch.testing.assert_close(sum(parts), whole)
    assert float(sum(share(LABELS[:, rows], 4) for rows in (slice(0, 2), slice(2, 6)))) == 1
    assert share(LABELS, None) == 1


@pytest.mark.parametrize("n_items", [None, 0, torch.tensor(0)])
def test_nothing_to_score_is_no_loss(n_items):
    logits = LOGITS.clone().requires_grad_()
    loss = cross_entropy(logits, torch.full_like(LABELS, -100), n_items)
    assert loss == 0
    loss.backward()
    assert (logits.grad == 0).all()
    assert share(torch.full_like(LABELS, -100), n_items) == (1 if n_items is None else 0)


def test_half_precision_is_summed_in_float32():
    logits = (LOGITS * 100).half()
    torch.testing.assert_close(
        cross_entropy(logits, LABELS, None), cross_entropy(logits.float(), LABELS, None)
    )
    assert cross_entropy(logits, LABELS, None).dtype == torch.float32


def test_routers_count_by_their_share():
    auxiliary = {"budget": torch.tensor(0.5), "balance": torch.tensor(0.25)}
    loss = torch.tensor(1.0)
    assert with_routers(loss, auxiliary, LABELS, None) == 1.75
    assert with_routers(loss, auxiliary, LABELS, torch.tensor(8)) == 1 + 0.75 / 2
    assert with_routers(loss, {}, LABELS, 8) == 1


@pytest.mark.parametrize("label", [5, -1])
def test_a_label_that_is_not_a_class_is_named(label):
    message = f"labels contain {label}, but the head scores the classes 0 to 4"
    with pytest.raises(ValueError, match=message):
        cross_entropy(LOGITS, LABELS.masked_fill(LABELS == 4, label), None)
