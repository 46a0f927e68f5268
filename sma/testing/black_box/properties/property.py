"""The base of the properties."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from typing_extensions import override

from sma.testing.black_box.inputs import Inputs, Rows
from sma.testing.black_box.programs import Trial
from sma.testing.black_box.subject import Subject
from sma.testing.strategies import Draw

NO_GRADIENTS = "torch.set_grad_enabled(False)"


class Property(ABC):
    """What must hold of a model, whatever its input.

    Attributes:
        name: in reports.
        once: whether one input tells as much as many.
        rounds: whether results are compared, so that a difference counts only if float64 has it too.
        optional: whether an error means that the model does not offer what is tried.
    """

    name: str
    once: bool = False
    rounds: bool = True
    optional: bool = False

    def missing(self, subject: Subject) -> str | None:
        """Why the property is not tried on a model; None if it is."""
        return None

    def tolerance(self, subject: Subject) -> float:
        """The difference beyond which the property is violated."""
        return subject.tolerance

    def otherwise(self, subject: Subject) -> "tuple[Property, str] | None":
        """The property with the model called in another way, and what it says if it holds so."""
        return None

    def unsupported(self) -> "tuple[Property, str] | None":
        """What holds of models that lack what this property needs, and the lack in words."""
        return None

    @abstractmethod
    def trial(self, draw: Draw, subject: Subject) -> Trial:
        """An input, drawn, and the lines that try the property on it."""

    @override
    def __repr__(self) -> str:
        return f"<property {self.name}>"


def counting(of: Property, subject: Subject) -> tuple[Property, str] | None:
    """What `otherwise` returns for a property that is told the positions of elements."""
    return (of, "it holds with position_ids of the real elements") if subject.caller.positions else None


def per_element(subject: Subject) -> str | None:
    """Why a property of results per element is not tried."""
    return "there is one result per row, not one per element" if subject.caller.pooled else None


def needs_decoding(subject: Subject) -> str | None:
    """Why a property of decoding is not tried."""
    return None if subject.caller.decoding is not None else subject.caller.why_no_decoding


def assign(name: str, inputs: Inputs, rows: Rows) -> str:
    """The line that sets an input."""
    return f"{name} = {inputs.tensor(rows)}"


def shown(inputs: Inputs, **rows: Sequence[Sequence[int]]) -> str:
    """Inputs for a reader."""
    of = "table " if inputs.setup("float") else ""
    plain = ("mask", "positions")
    return ", ".join(f"{name} = {'' if name in plain else of}{value}" for name, value in rows.items())


def places(n_rows: int, length: int, *, pooled: bool = False) -> tuple[tuple[int, int | None], ...]:
    """Row and position of all results of whole rows."""
    if pooled:
        return tuple((b, None) for b in range(n_rows))
    return tuple((b, i) for b in range(n_rows) for i in range(length))
