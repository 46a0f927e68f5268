from types import SimpleNamespace

import pytest
import torch

from sma.transformers.models.loading import check_loaded, moved


def check(missing=(), unexpected=(), mismatched=(), ignore=False):
    found = SimpleNamespace(missing_keys=missing, unexpected_keys=unexpected, mismatched_keys=mismatched)
    check_loaded(
        SimpleNamespace(pretrained_model_name_or_path="folder", ignore_mismatched_sizes=ignore), found
    )


def test_a_head_may_be_new():
    check(["model.head.output.weight"], ["model.head.output.bias", "head.linear.weight"])


def test_what_is_wrong_is_named_with_how_much_more_there_is():
    sizes = [("model.norm.weight", torch.Size([8]), torch.Size([4]))]
    with pytest.raises(
        ValueError, match=r"model.norm.weight is \(8,\) in the file and \(4,\) in the spec; give the"
    ):
        check(mismatched=sizes)
    check(mismatched=sizes, ignore=True)
    with pytest.raises(
        ValueError, match=r"folder holds.*model.a is missing, model.b is missing, model.c .* and 1 more;"
    ):
        check(["model.b", "model.a"], ["model.c", "model.headline"])


class Moved:
    """Takes the place of a tensor, and remembers where it was sent."""

    def __init__(self):
        self.data = self
        self.device = None

    def to(self, device):
        self.device = device
        return self


def test_tensors_go_to_the_device_of_the_innermost_module():
    tensors = {name: Moved() for name in ("model.a.x", "model.ab.x", "other")}
    moved(tensors, None)
    moved(tensors, {"model": "disk", "model.a": "cuda:1"})
    assert [tensor.device for tensor in tensors.values()] == ["cuda:1", None, None]
    moved(tensors, {"": "cpu"})
    assert {tensor.device for tensor in tensors.values()} == {"cpu"}
