"""The Auto classes of transformers, and which one loads a model."""

from functools import cache
from typing import Any

from transformers.models.auto import modeling_auto
from transformers.models.auto.auto_factory import _BaseAutoModelClass


@cache
def auto_classes() -> tuple[Any, ...]:
    """All of them."""
    found: list[Any] = [value for value in vars(modeling_auto).values() if isinstance(value, type)]
    return tuple(
        each for each in found if issubclass(each, _BaseAutoModelClass) and each._model_mapping is not None
    )


def auto_class_name(config: Any, model_class: str | None = None) -> str:
    """The name of the Auto class that loads a class of model; AutoModel if none does.

    Args:
        config: the model's configuration.
        model_class: its name; None: the one that the configuration says.
    """
    model_class = model_class or (config.architectures or [""])[0]
    found = []
    for auto in auto_classes():
        classes = auto._model_mapping.get(type(config), ())
        classes = classes if isinstance(classes, list | tuple) else [classes]
        if any(each.__name__ == model_class for each in classes):
            found.append(auto.__name__)
    of_its_kind = [name for name in found if model_class.endswith(name.removeprefix("AutoModel"))]
    return next(iter(of_its_kind or found), "AutoModel")
