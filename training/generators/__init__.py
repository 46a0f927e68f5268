"""Generators of data: ListOps, Pathfinder, and sequences whose need for attention is known.

Processes that make data import no torch: a generator imports it where it is used, or not at all.
"""
