"""The classes of models for transformers, their cache and their losses."""
