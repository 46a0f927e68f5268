"""Specs: the base class, the open set of kinds, errors and JSON Schema."""
