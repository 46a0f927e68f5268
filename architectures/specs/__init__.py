"""Specs of every part; one file per kind of part."""
