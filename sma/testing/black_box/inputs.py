"""The inputs that a model is checked with, drawn by Hypothesis and written as Python."""

from dataclasses import dataclass
from typing import TypeAlias

from hypothesis import strategies as st

from sma.testing.strategies import Draw

Rows: TypeAlias = list[list[int]]
"""Numbers of elements, row by row; rows of one length where they are written as a tensor."""
N_KINDS = 8
"""How many different elements inputs are made of."""
MOST_ROWS = 5
"""Rows of a batch where it is tried whether they see each other."""


@dataclass(frozen=True)
class Tokens:
    """Inputs `(B, L)` of token ids.

    Attributes:
        ids: those that are drawn; the first one is the simplest.
        padding: the id that stands at padding.

    Example:
        >>> Tokens((5, 6), padding=0).tensor([[5, 6]])
        'torch.tensor([[5, 6]])'
    """

    ids: tuple[int, ...]
    padding: int

    def setup(self, dtype: str) -> tuple[str, ...]:
        """Lines of Python that `tensor` needs, for a model in a precision such as `"double"`."""
        return ()

    def tensor(self, rows: Rows) -> str:
        """Rows of one length as Python."""
        return f"torch.tensor({rows})"


@dataclass(frozen=True)
class Features:
    """Inputs `(B, L, D)` of normally distributed vectors, each named by its row in a table.

    Attributes:
        d_model: D; None: inputs are numbers, `(B, L)`.

    Example:
        >>> Features(4).tensor([[0, 1]])
        'table[torch.tensor([[0, 1]])]'
    """

    d_model: int | None

    @property
    def ids(self) -> tuple[int, ...]:
        """The rows of the table that are drawn; the last one is for padding."""
        return tuple(range(N_KINDS))

    @property
    def padding(self) -> int:
        """The row of the table that stands at padding."""
        return N_KINDS

    def setup(self, dtype: str) -> tuple[str, ...]:
        """The line of Python that makes the table, for a model in a precision such as `"double"`."""
        shape = f"{N_KINDS + 1}" if self.d_model is None else f"{N_KINDS + 1}, {self.d_model}"
        return (f"table = torch.randn({shape}, generator=torch.Generator().manual_seed(0)).{dtype}()",)

    def tensor(self, rows: Rows) -> str:
        """Rows of one length as Python."""
        return f"table[torch.tensor({rows})]"


Inputs: TypeAlias = Tokens | Features


def draw_row(draw: Draw, inputs: Inputs, least: int, most: int) -> list[int]:
    """The elements of one row, between `least` and `most` of them."""
    return draw(st.lists(st.sampled_from(inputs.ids), min_size=least, max_size=most))


def draw_rows(draw: Draw, inputs: Inputs, n_rows: int, length: int) -> Rows:
    """Rows of one length."""
    return [draw_row(draw, inputs, length, length) for _ in range(n_rows)]


def sample(inputs: Inputs, n_rows: int, length: int) -> Rows:
    """Rows in which every kind of element occurs, if there is place, in another order in each of them."""
    n = len(inputs.ids)
    return [[inputs.ids[(i * (2 * b + 1) + b + i // n) % n] for i in range(length)] for b in range(n_rows)]
