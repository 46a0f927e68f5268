"""Reports and descriptions of models."""
