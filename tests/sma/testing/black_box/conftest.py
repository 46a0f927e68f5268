"""Models that are checked have the same weights in every order of the tests."""

import pytest
import torch


@pytest.fixture(autouse=True)
def same_weights() -> None:
    torch.manual_seed(0)
