"""`cppo-verl` in this process."""

from cppo_verl.cli import cli


def cppo_verl(*arguments: object) -> int:
    """Run the command; returns its exit code."""
    try:
        return cli.main([*map(str, arguments)], prog_name="cppo-verl", standalone_mode=False) or 0
    except SystemExit as stop:
        return stop.code or 0
