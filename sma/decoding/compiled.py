"""A language model whose decoding step is compiled."""

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import override

from sma.compilation import tracing
from sma.decoding.batch import Decoder

PAYS_FROM = 20_000
"""Steps of one row from which on a compiled step has saved more time than it took to compile."""


def decoder(model: Decoder, *, n_steps: int | None = None) -> Decoder:
    """A language model for decoding, with a compiled step if that pays.

    Args:
        model: such as `sma.architectures.SequenceModel`.
        n_steps: how many steps there will be; None: so many that it pays.

    Returns:
        A `CompiledDecoder`; the model itself where that does not pay, or it is not a module.

    Example:
        >>> from sma.architectures import seqboat
        >>> model = seqboat(vocab_size=256, d_model=16, n_layers=2).build().eval()
        >>> decoder(model, n_steps=500) is model
        True
    """
    few = n_steps is not None and n_steps < PAYS_FROM
    return model if few or not isinstance(model, nn.Module) else CompiledDecoder(model)


class CompiledDecoder(nn.Module):
    """A language model whose `step` is compiled; prompts are read as the model reads them.

    It is compiled at its first call, once more when the number of rows changes, and then for any number; each
    time takes as long as thousands of steps. Results are those of the model up to rounding. Where there is no
    C++ compiler, a warning says so, and steps are the model's own.

    Args:
        model: a language model that decodes, in the mode that it will be used in.

    Attributes:
        compiled: whether steps are compiled; False once it has failed.

    Example:
        >>> from sma.architectures import seqboat
        >>> model = seqboat(vocab_size=256, d_model=16, n_layers=2).build().eval()
        >>> compiled = CompiledDecoder(model)
        >>> scores, state = compiled.prefill(torch.zeros(1, 5, dtype=torch.long))
        >>> scores.shape
        torch.Size([1, 5, 256])
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.train(model.training)
        self.compiled = True
        self._step: Callable[[Tensor, Any], Any] = torch.compile(model.step)

    @override
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """That of the model."""
        return self.model(*args, **kwargs)

    def init_state(self, batch_size: int) -> Any:
        """That of the model."""
        return self.model.init_state(batch_size)

    def prefill(self, inputs: Tensor, mask: Tensor | None = None, state: Any = None) -> tuple[Tensor, Any]:
        """That of the model."""
        result: tuple[Tensor, Any] = self.model.prefill(inputs, mask, state)
        return result

    @torch.no_grad()
    def step(self, inputs: Tensor, state: Any) -> Tensor:
        """Read one more element per row, advancing `state` in place; compiled."""
        try:
            with tracing():
                scores: Tensor = self._step(inputs, state)
        except torch._dynamo.exc.BackendCompilerFailed as error:
            reason = str(error).strip().splitlines()[0]
            warnings.warn(f"a step could not be compiled, and runs as it is: {reason}", stacklevel=2)
            self._step, self.compiled = self.model.step, False
            scores = self.model.step(inputs, state)
        return scores
