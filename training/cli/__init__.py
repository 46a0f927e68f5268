"""The `sma` command."""

from sma.lazy import needs

with needs("command", "the command sma"):
    import rich  # noqa: F401
    import typer  # noqa: F401
