"""From run folders to `report.md`, CSV and PNG: `python -m cppo_verl.report RUN [RUN ...] --out DIR`.

The first run is the one that ratios are to; give GRPO first. Runs that differ only by seed make one row.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from cppo_verl.console import open_console
from cppo_verl.report.make import make_report
from cppo_verl.report.runs import RunError


def main(argv: list[str] | None = None) -> int:
    """Returns the exit code: 2 where there is nothing to report."""
    parser = argparse.ArgumentParser(
        prog="python -m cppo_verl.report", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="a run's folder")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the report")
    args = parser.parse_args(argv)
    console = open_console()
    try:
        remarks = make_report(args.runs, args.out, console)
    except RunError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for remark in remarks:
        print(f"note: {remark}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
