"""TBD."""

if __name__ == "training":
    raise ImportError("import sma.training instead of training: the bare name is only its folder in the repository")
