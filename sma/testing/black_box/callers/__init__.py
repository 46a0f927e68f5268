"""Callers: how models of several kinds are called."""
