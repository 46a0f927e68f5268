"""Texts as rows of bytes."""

from sma.training.tasks.text.byte_rows import byte_rows, join


def test_texts_are_cut_joined_and_have_classes():
    arrays = join([(b"ab 1!", 1), (b"\xff", 0)], 4)
    assert arrays["tokens"].tobytes() == b"ab 1\xff"
    assert arrays["ends"].tolist() == [4, 5]
    assert arrays["labels"].tolist() == [1, 0]
    batch = byte_rows(arrays).batch([0, 1])
    assert batch.roles.tolist() == [[0, 0, 2, 1], [4, 0, 0, 0]]
    assert batch.mask.tolist() == [[True] * 4, [True, False, False, False]]
