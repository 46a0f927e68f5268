"""Tensors of which every process holds a share."""

from collections.abc import Mapping

from torch import Tensor


def is_sharded(tensor: Tensor) -> bool:
    """Whether a tensor is a `DTensor` (whose module takes a second to import)."""
    return hasattr(tensor, "full_tensor")


def whole(tensor: Tensor) -> Tensor:
    """The whole of a tensor, which all processes must ask for together if it is sharded."""
    return tensor.full_tensor() if is_sharded(tensor) else tensor  # type: ignore[attr-defined]


def sharded_like(tensor: Tensor, model: Tensor | None) -> Tensor:
    """A whole tensor, sharded as another one of its shape is."""
    if model is None or not is_sharded(model) or model.shape != tensor.shape:
        return tensor
    from torch.distributed.tensor import distribute_tensor

    moved = tensor.to(model.device)
    return distribute_tensor(moved, model.device_mesh, model.placements, src_data_rank=None)  # type: ignore[attr-defined]


def owner(name: str, tensors: Mapping[str, Tensor]) -> Tensor | None:
    """The tensor of a model that an entry of a checkpoint is about.

    Entries are `model/X`, `average/module.X` and `optimizer/X/key`.
    """
    kind, _, path = name.partition("/")
    if kind == "average":
        path = path.removeprefix("module.")
    return tensors.get(path, tensors.get(path.rpartition("/")[0]))
