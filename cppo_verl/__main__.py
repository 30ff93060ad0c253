"""`python -m cppo_verl`, the same as `cppo-verl`."""

from cppo_verl.cli import cli

if __name__ == "__main__":
    cli(prog_name="cppo-verl")
