"""The properties that a model is checked for, one file for each kind."""
