"""An exponential moving average of weights."""

from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


def averaged(model: nn.Module, decay: float) -> AveragedModel:
    r"""A copy of a model whose weights follow it: \(\bar w \leftarrow d \bar w + (1 - d) w\) at each update.

    The first update takes the weights as they are. Buffers, such as running statistics of batch norm, are
    those of the model.

    Args:
        model: that is trained; `update_parameters(model)` of the result follows it.
        decay: d; 0.999 forgets half of what it knows in 693 updates.

    Example:
        >>> model = nn.Linear(1, 1, bias=False)
        >>> average = averaged(model, 0.9)
        >>> for value in (1.0, 2.0):
        ...     _ = nn.init.constant_(model.weight, value)
        ...     average.update_parameters(model)
        >>> round(average.module.weight.item(), 6)
        1.1
    """
    return AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay))  # type: ignore[no-untyped-call]
