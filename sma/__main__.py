"""`python -m sma`, as `torchrun -m sma train` needs it: the `sma` command, of a package above."""

from runpy import run_module

if __name__ == "__main__":
    run_module("sma.training.cli.app", run_name="__main__", alter_sys=True)
