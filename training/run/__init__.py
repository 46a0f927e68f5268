"""Run folders: what a training run keeps on disk."""
