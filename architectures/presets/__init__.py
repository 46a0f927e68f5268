"""Presets: functions that return the spec of a known architecture."""
