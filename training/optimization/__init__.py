"""Optimizers, parameter groups, schedules, precisions and averages: how a step changes weights."""
