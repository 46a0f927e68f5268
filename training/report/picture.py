"""A picture of an architecture: its spec as a tree, and its parts as a table."""

import re

from sma import Spec
from sma.architectures.specs.families import BlockSpec, RouterSpec, SubModuleSpec
from sma.lazy import needs
from sma.spec.base import children
from sma.training.report.description import PartCost, cells

with needs("command", "the picture of a spec"):
    from rich import box
    from rich.table import Table
    from rich.text import Text
    from rich.tree import Tree

_HEAD = ("part", "kind", "parameters", "operations")
_BETWEEN, _NARROWEST = 9, 20  # characters: between the columns, and of names at least


def picture(spec: Spec, label: str = "") -> Tree:
    """A spec and what it contains, each with the fields that are set to something else than the default.

    Sub-modules behind a router are drawn as routed; or the part that holds both, where they are not its own.

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


def parts_table(title: str, parts: list[PartCost], totals: dict[str, float], width: int) -> Table:
    """The parts of a model, and their operations in all by name, in `width` characters where possible."""
    n_parameters = sum(part.parameters * part.count for part in parts)
    bound = "at least " if any(part.flops is None for part in parts) else ""
    rows = [cells(part) for part in parts]
    for name, total in totals.items():
        rows.append((name, "", "" if len(rows) > len(parts) else f"{n_parameters:,}", f"{bound}{total:,.0f}"))
    names, kinds, *numbers = zip(_HEAD, *rows, strict=True)
    taken = sum(max(map(len, column)) for column in (" ".join(kinds).split(), *numbers))
    space = max(width - taken - _BETWEEN, _NARROWEST)
    table = Table(title=title, title_justify="left", caption_justify="left", box=box.SIMPLE, pad_edge=False)
    table.show_edge = False
    table.add_column(_HEAD[0], width=min(space, max(map(len, names))))
    table.add_column(_HEAD[1])
    for head in _HEAD[2:]:
        table.add_column(head, justify="right", no_wrap=True)
    for i, (name, *others) in enumerate(rows, 1):
        table.add_row(_fold(name, space), *others, end_section=i == len(parts))
    table.caption = (
        "Operations per element (of a routed part: that activates it), forward, 2 per multiply-add; "
        "element-wise functions are not counted."
    )
    return table


def _fold(name: str, width: int) -> str:
    """A name in lines of at most `width`, which end after dots and spaces."""
    lines = [""]
    for piece in re.findall(r"[^. ]*[. ]|[^. ]+", name):
        if lines[-1] and len(lines[-1] + piece.rstrip()) > width:
            lines.append("")
        lines[-1] += piece
    return "\n".join(line.rstrip() for line in lines)


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
