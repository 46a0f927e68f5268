"""Distillation of sparsified models of transformers, its controls, and the report that compares them."""
