"""Models, and steps of decoding, as programs of `torch.export`."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from typing_extensions import override

from sma.architectures.models.sequence import SequenceModel

if TYPE_CHECKING:
    from torch.export import ExportedProgram


def export_model(model: nn.Module, *inputs: Any) -> "ExportedProgram":
    """A model as a program for inputs of these shapes, in the mode that it is in.

    Args:
        model: any of `sma.architectures`; its parameters are the program's.
        inputs: arguments of `forward`.

    Raises:
        ValueError: if a part makes shapes that depend on the data in a way that torch cannot follow.

    Example:
        >>> from sma.architectures import ssm_only
        >>> model = ssm_only(vocab_size=9, d_model=8, n_layers=1, d_state=2).build().eval()
        >>> tokens = torch.tensor([[1, 2, 3]])
        >>> program = export_model(model, tokens)
        >>> torch.equal(program.module()(tokens + 1), model(tokens + 1))
        True
    """
    return _exported(model, inputs, model)


def export_step(model: SequenceModel, batch_size: int) -> "ExportedProgram":
    """One step of decoding as a program: `(inputs, tensors) -> (scores, tensors)`.

    The tensors are those of the decoding state, in the order of `State.tensors`; the program gives the new
    ones and leaves the old as they are.

    Args:
        model: a `SequenceModel` that decodes, in evaluation mode.
        batch_size: B.

    Raises:
        ValueError: if a part does not decode, or torch cannot follow it: sub-modules behind a router can be
            exported with `compaction: {kind: capacity}`.

    Example:
        >>> from sma.architectures import ssm_only
        >>> model = ssm_only(vocab_size=9, d_model=8, n_layers=1, d_state=2).build().eval()
        >>> step = export_step(model, batch_size=1).module()
        >>> tensors = [tensor for _, tensor in model.init_state(1).tensors()]
        >>> for token in (3, 1, 4):
        ...     scores, tensors = step(torch.tensor([token]), tensors)
        >>> scores.shape
        torch.Size([1, 9])
    """
    try:
        wrapped = _Step(model, batch_size)
    except NotImplementedError as error:
        raise ValueError(f"the model has no steps to export: {error}") from error
    return _exported(wrapped, wrapped.example(), model)


class _Step(nn.Module):
    """A step of decoding as a function of tensors alone."""

    def __init__(self, model: SequenceModel, batch_size: int) -> None:
        super().__init__()
        self.model = model
        self.state = model.init_state(batch_size)

    def example(self) -> tuple[Any, ...]:
        """Arguments of `forward`."""
        spec = self.model.spec.embedding
        n_rows, like = len(self.state.position), next(self.model.parameters())
        shape = (n_rows, spec.d_input) if spec.kind == "features" else (n_rows,)  # type: ignore[attr-defined]
        whole = spec.kind in ("tokens", "bag")
        inputs = torch.zeros(shape, dtype=torch.long if whole else like.dtype, device=like.device)
        return inputs, [tensor for _, tensor in self.state.clone().tensors()]

    @override
    def forward(self, inputs: Tensor, tensors: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Scores, and the tensors of the state after the step."""
        given = iter(tensors)
        state = self.state.map(lambda _: next(given).clone())
        scores = self.model.step(inputs, state)
        return scores, [tensor for _, tensor in state.tensors()]


def _exported(module: nn.Module, inputs: tuple[Any, ...], model: nn.Module) -> "ExportedProgram":
    export: Callable[..., ExportedProgram] = torch.export.export
    try:
        return export(module, inputs)
    except ValueError:
        raise
    except Exception as error:  # torch has many classes of errors here, and messages of many lines
        raise ValueError(
            f"{type(model).__name__} cannot be exported: a part makes shapes that depend on the data "
            f"({type(error).__name__}); set compaction: {{kind: capacity}} in its parts of kind sma, or use "
            "torch.compile, which goes on around such a part"
        ) from error
