"""Whole models: embedding, blocks and head."""
