"""The command line the preparation scripts share: load, check, report, write."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import track

from cppo_verl.data.rows import Checked, Recipe, build, check, write_parquet
from cppo_verl.data.sources import SourceError, load_split

SPLITS = ("train", "test")
_SHOWN = 20  # findings printed of each kind


def main(recipe: Recipe, description: str, argv: Sequence[str] | None = None) -> int:
    """Write `train.parquet` and `test.parquet`; returns the exit code, 1 if nothing was written.

    Bad rows stop the run before anything is written, unless `--drop-bad-rows` leaves them out.
    """
    args = _parse_args(recipe, description, argv)
    try:
        splits = {split: load_split(args.source or recipe.data_sources[split], split) for split in SPLITS}
    except SourceError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    checked = check(splits, recipe, _progress)
    _report(checked)
    if checked.errors and not args.drop_bad_rows:
        print("error: nothing written; mend these rows or pass --drop-bad-rows", file=sys.stderr)
        return 1
    files = {
        args.local_dir / f"{split}.parquet": build(split, rows, checked, recipe, system=args.system_prompt)
        for split, rows in splits.items()
    }
    if empty := [str(path) for path, rows in files.items() if not rows]:
        print(f"error: nothing written; no good row is left for {', '.join(empty)}", file=sys.stderr)
        return 1
    write_parquet(files)
    for path, rows in files.items():
        print(f"{path}: {len(rows):,} rows")
    return 0


def _parse_args(recipe: Recipe, description: str, argv: Sequence[str] | None) -> argparse.Namespace:
    default = " and ".join(dict.fromkeys(recipe.data_sources.values()))
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--local_dir", type=Path, required=True, help="folder to write the parquet files to")
    parser.add_argument(
        "--source",
        help=f"hub id, or a folder with train.jsonl and test.jsonl, each optionally .gz (default: {default})",
    )
    parser.add_argument("--drop-bad-rows", action="store_true", help="leave bad rows out instead of stopping")
    parser.add_argument(
        "--no-system-prompt",
        dest="system_prompt",
        action="store_false",
        help="question only, for small models whose context the instruction would fill",
    )
    return parser.parse_args(argv)


def _progress(results: Iterable, total: int, split: str) -> Iterable:
    return track(results, f"checking {split}", total=total, console=Console(stderr=True))


def _report(checked: Checked) -> None:
    for title, findings in (("note", checked.notes), ("bad row", checked.errors)):
        for finding in findings[:_SHOWN]:
            print(f"{title}: {finding}", file=sys.stderr)
        if len(findings) > _SHOWN:
            print(f"{title}: and {len(findings) - _SHOWN:,} more", file=sys.stderr)
