"""Measurements of what the routers of a trained model decide, and of what single decisions are worth."""
