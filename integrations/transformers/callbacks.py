"""A callback of transformers' `Trainer` for settings that move while training goes on."""

from typing import Any

from torch import nn
from typing_extensions import override

from sma.modules.routers.ramp import set_progress
from transformers import TrainerCallback


class ProgressCallback(TrainerCallback):
    """Tells a model's ramps, such as a budget's rate, which share of the training is done, before each step.

    Without a `Ramp` in the model it does nothing.

    Example:
        >>> callback = ProgressCallback()  # Trainer(..., callbacks=[callback])
    """

    @override
    def on_step_begin(self, args: Any, state: Any, control: Any, model: nn.Module, **kwargs: Any) -> None:
        set_progress(model, state.global_step / max(state.max_steps, 1))
