import torch
from hypothesis import find, given
from hypothesis import strategies as st

from sma.testing import Layout, activities, degenerate_layouts, layouts, routings, schedules
from sma.testing.strategies import join


def test_a_layout_on_either_side():
    right, left = Layout((2, 0, 1), padding=1), Layout((2, 0, 1), padding=1, left=True)
    assert right.real.int().tolist() == [[1, 1, 0], [0, 0, 0], [1, 0, 0]]
    assert left.real.int().tolist() == [[0, 1, 1], [0, 0, 0], [0, 0, 1]]
    for a, b in zip(right.rows(right.x(4)), left.rows(left.x(4)), strict=True):
        assert torch.equal(a, b)


def test_a_layout_with_holes():
    right, left = Layout((4, 1, 5), padding=1, holes=True), Layout((3, 5), left=True, holes=True)
    assert right.real.int().tolist() == [[1, 1, 0, 1, 1, 0], [1, 0, 0, 0, 0, 0], [1, 1, 0, 1, 1, 1]]
    assert left.real.int().tolist() == [[0, 1, 0, 1, 1], [1, 1, 1, 1, 1]]
    for a, b in zip(right.rows(right.x(4)), Layout((4, 1, 5)).rows(Layout((4, 1, 5)).x(4)), strict=True):
        assert torch.equal(a, b)


def test_only_padding_needs_a_mask():
    assert Layout((3, 3)).mask is None
    assert Layout(()).mask is None
    assert Layout((3, 2)).mask is not None


def test_a_row_does_not_depend_on_its_batch_mates():
    assert torch.equal(Layout((5, 2)).x(3)[0], Layout((5,)).x(3)[0])


@given(layouts())
def test_values_are_where_the_layout_says(layout):
    x = layout.x(2)
    assert x.shape == (*layout.shape, 2)
    assert torch.equal(x.isfinite().all(-1), layout.real)


@given(st.data())
def test_only_real_elements_are_active(data):
    layout = data.draw(layouts())
    routing = data.draw(routings(layout, n_modules=2))
    assert not routing.active[~layout.real].any()
    assert torch.equal(routing.confidence.isfinite(), routing.active)


def test_the_strategies_reach_the_corners():
    for corner in (
        lambda layout: layout.shape[0] == 0,
        lambda layout: layout.shape == (2, 0),
        lambda layout: layout.lengths[:1] == (0,) and sum(layout.lengths) > 3,
        lambda layout: layout.left and layout.mask is not None,
    ):
        find(layouts(), corner)
    for lengths in ((), (0,), (1,)):
        find(degenerate_layouts(), lambda layout, lengths=lengths: layout.lengths == lengths)
    for n_active in (0, 1, 9):
        find(activities(Layout((9,))), lambda active, n=n_active: active.sum() == n)


@given(st.data())
def test_a_schedule_takes_every_element_once_and_in_order(data):
    layout = data.draw(layouts(min_rows=1))
    rows = layout.rows(layout.x(2))
    chunks = data.draw(schedules(layout.lengths))
    for row, joined in zip(rows, join(chunks, [chunk.take(rows) for chunk in chunks]), strict=False):
        assert torch.equal(row, joined)
