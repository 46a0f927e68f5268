"""Where a run stands after a validation."""

from sma.training.run.position import Position


def test_the_best_validation_is_the_first_of_the_lowest_loss() -> None:
    position, found = Position(), []
    for step, loss in enumerate((3.0, 2.0, 2.5, 2.0, 1.0), 1):
        position = position.at(step=step).after_validation(loss, 10.0 * step)
        found.append((position.best_step, position.best_loss, position.stale, position.validated))
    assert found == [(1, 3.0, 0, 1), (2, 2.0, 0, 2), (2, 2.0, 1, 3), (2, 2.0, 2, 4), (5, 1.0, 0, 5)]


def test_the_time_of_validations_is_added_up() -> None:
    position = Position(elapsed=5.0).after_validation(1.0, 7.0)
    position = position.at(elapsed=20.0).after_validation(1.0, 21.5)
    assert (position.elapsed, position.validating) == (21.5, 3.5)
