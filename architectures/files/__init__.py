"""Specs, models and decoding states on disk."""

from sma.architectures.files.folders import load_model, load_state, load_weights, save_model, save_state
from sma.architectures.files.yaml import dump_spec, load_spec, parse_spec

__all__ = [
    "dump_spec",
    "load_model",
    "load_spec",
    "load_state",
    "load_weights",
    "parse_spec",
    "save_model",
    "save_state",
]
