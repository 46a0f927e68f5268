"""Import of weights of the published implementation."""
