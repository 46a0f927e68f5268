"""The `sma` command."""
