"""TBD."""

if __name__ == "modules":
    raise ImportError("import sma.modules instead of modules: the bare name is only its folder in the repository")
