"""What a run reports when the world, not the user's input, stands in its way."""


class RunError(RuntimeError):
    """A run cannot go on: a full disk, a damaged checkpoint, a loss that is not a number.

    The message is one line that says what is kept and what to do. Wrong input raises `ValueError` instead.
    """
