"""Routers with random parameters, and batches with padding, for the tests of routers."""

import torch

D = 6


def make(kind, n_modules, **arguments):
    """A router of elements of width `D`, in float64 with random parameters."""
    router = kind(D, n_modules=n_modules, **arguments).double()
    with torch.no_grad():
        for parameter in router.parameters():
            parameter.copy_(torch.randn(parameter.shape))
    return router


def batch(lengths=(5, 2, 0)):
    """Random rows of these lengths with large numbers at padding, and their mask."""
    x = torch.randn(len(lengths), max(lengths), D, dtype=torch.float64)
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    return x.masked_fill(~mask[..., None], 1e3), mask
