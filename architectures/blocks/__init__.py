"""Blocks: the residual block, stacks of blocks."""
