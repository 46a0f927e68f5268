"""TBD."""

if __name__ == "architectures":
    raise ImportError(
        "import sma.architectures instead of architectures: the bare name is only its folder in the repository"
    )
