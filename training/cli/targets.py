"""Models of any kind that an argument of the command names, and the lines of Python that build them."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sma.architectures import load_model
from sma.architectures.models.base import ModelSpec
from sma.architectures.presets.by_name import model_presets
from sma.checks import near
from sma.lazy import needs
from sma.training.imported import import_named
from sma.training.presets import run_names
from sma.training.pretrained import is_repository, load_pretrained
from sma.training.results import best_model
from sma.training.run.folder import Run
from sma.training.settings.specs import model_spec
from sma.training.sparsification.sparsified_folder import MODEL_FOLDER, is_sparsified

_NAMED = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


@dataclass(frozen=True)
class Target:
    """A model that an argument names.

    Attributes:
        model: the model, or a function that builds it.
        source: lines of Python that set `model`.
    """

    model: nn.Module | Callable[[], nn.Module]
    source: tuple[str, ...]


def target_model(target: str, kind: str | None = None) -> Target:
    """The model that an argument names.

    Args:
        target: `my_module:build`; a folder or an ID of transformers; what `sma sparsify` wrote; or a spec, a
            run, a model's folder or a preset of this project.
        kind: the class of transformers that loads it; None: as its configuration says.

    Raises:
        ValueError: if it names none of these.
    """
    path = Path(target)
    if _NAMED.fullmatch(target) and not target.startswith("preset:"):
        module, _, name = target.partition(":")
        return Target(function(target), (f"from {module} import {name}", f"model = {name}()"))
    if is_sparsified(path):
        return _pretrained(str(path / MODEL_FOLDER), kind)
    if kind is not None or (path / "config.json").is_file() or is_repository(target):
        return _pretrained(target, kind)
    if (path / "spec.json").is_file():
        source = "from sma.architectures import load_model", f"model = load_model({target!r})"
        return Target(load_model(path), source)
    if (path / "spec.yaml").is_file():
        lines = (
            "from sma.training.results import best_model",
            "from sma.training.run.folder import Run",
            f"model = best_model(Run.open({target!r}))",
        )
        return Target(best_model(Run.open(path)).cpu(), lines)
    spec = _spec(target)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = spec.build()
    return Target(
        model,
        (
            "from sma.training.settings.specs import model_spec",
            "torch.manual_seed(0)",
            f"model = model_spec({target!r}, []).build()",
        ),
    )


def function(name: str) -> Callable[..., Any]:
    """The function that `my_module:build` names.

    Raises:
        ValueError: if there is no such module or function.
    """
    if not _NAMED.fullmatch(name):
        raise ValueError(f"{name!r} is not MODULE:FUNCTION; write it as my_module:build")
    module, _, attribute = name.partition(":")
    found = getattr(import_named(module, name), attribute, None)
    if found is None or not callable(found):
        raise ValueError(f"{module} has no function {attribute!r}; name one that is defined there")
    return found


def _spec(target: str) -> ModelSpec:
    """The spec that a file or a preset names."""
    path, name = Path(target), target.removeprefix("preset:")
    if path.is_dir():
        raise ValueError(
            f"{target} is a folder without config.json (a model of transformers), spec.json (a model of this "
            "project) or spec.yaml (a run); name one that has it"
        )
    if not path.exists() and ("/" in target or target.startswith(".")):
        raise ValueError(
            f"there is no file or folder {target}, nor can it be the name of a model; give a path that is "
            "there, a model of the Hub as owner/name, my_module:build, or a preset"
        )
    known = [*run_names(), *model_presets()]
    if not path.exists() and name not in known:
        raise ValueError(
            f"{target!r} is not a file, a folder or a preset, and a model of the Hub is owner/name"
            f"{near(name, known)}"
        )
    return model_spec(target, [])


def _pretrained(target: str, kind: str | None) -> Target:
    """A model of transformers or of `sma.transformers`, loaded by the class that its configuration names."""
    with needs("transformers", f"{target}, a model of transformers,"):
        import transformers

        from sma.transformers.sparsification.auto_classes import auto_class_name

    if kind is None:
        config: Any = load_pretrained(transformers.AutoConfig, target)
        config = getattr(config, "base", config)  # a sparsified model's
        named = (config.architectures or ["AutoModel"])[0]
        dense = hasattr(transformers, named) and not hasattr(config, "sparsify")
        kind = named if dense else auto_class_name(config)
    loads: Any = getattr(transformers, kind, None)
    if not hasattr(loads, "from_pretrained"):
        raise ValueError(
            f"--class {kind}: transformers has no such model; use one such as AutoModelForCausalLM"
        )
    model = load_pretrained(loads, target)
    own = getattr(model, "loaded_by", "") or type(model).__module__.startswith("sma.")
    imports = ("import sma.transformers",) if own else ()
    return Target(
        model, (*imports, f"from transformers import {kind}", f"model = {kind}.from_pretrained({target!r})")
    )
