"""Attention: windowed attention over activated elements, and the modules built on it."""
