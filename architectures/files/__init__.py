"""Specs, models and decoding states on disk."""
