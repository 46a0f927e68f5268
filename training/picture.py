"""A picture of an architecture: its spec as a tree."""

from rich.text import Text
from rich.tree import Tree

from sma import Spec
from sma.architectures.families import BlockSpec, RouterSpec, SubModuleSpec
from sma.spec import children


def picture(spec: Spec, label: str = "") -> Tree:
    """A spec and what it contains, each with the fields that are set to something else than the default.

    What stands behind a router is drawn as routed: the sub-modules beside it, or what holds it.

    Example:
        >>> from rich import print
        >>> from sma.architectures import seqboat
        >>> print(picture(seqboat(vocab_size=256, d_model=64, n_layers=4).blocks[0].branches[1]))
        sma
        ├── router: latent_configurator
        └── routed: gau
    """
    tree = Tree(_line(spec, label))
    inside = children(spec)
    for path, child in inside.items():
        field = path.split(".")[0]
        if getattr(type(spec).model_fields[field], "default", None) == child:
            continue
        behind = _holds(spec, RouterSpec) and isinstance(child, SubModuleSpec)
        tree.add(picture(child, "routed" if behind else field))
    return tree


def _line(spec: Spec, label: str) -> Text:
    text = Text(f"{label}: " if label else "", style="dim")
    text.append(spec.kind, style="bold")
    if isinstance(spec, BlockSpec) and spec.repeat > 1:
        text.append(f" x {spec.repeat}", style="bold")
    if _holds(spec, RouterSpec) and not isinstance(spec, RouterSpec) and not _holds(spec, SubModuleSpec):
        text.append(" (routed)", style="dim")
    values = [f"{name} {value}" for name, value in _own_fields(spec).items()]
    text.append(f"  {', '.join(values)}" if values else "", style="not bold")
    return text


def _holds(spec: Spec, family: type[Spec]) -> bool:
    return any(isinstance(child, family) for child in children(spec).values())


def _own_fields(spec: Spec) -> dict[str, object]:
    inside = {path.split(".")[0] for path in children(spec)}
    return {
        name: value
        for name, field in type(spec).model_fields.items()
        if name not in {"kind", "repeat", *inside}
        and (value := getattr(spec, name)) is not None
        and (field.is_required() or value != field.get_default())
    }
