"""Routers: what decides which elements activate which sub-modules."""
