"""Optimizers and schedules: how a step changes weights."""
