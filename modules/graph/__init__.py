"""Graphs: convolutions over the edges between activated elements."""
