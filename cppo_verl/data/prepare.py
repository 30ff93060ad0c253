"""The command line the preparation scripts share: load, check, report, write."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import track

from cppo_verl.data.known_errors import POLICIES
from cppo_verl.data.rows import Checked, Recipe, build, check, write_parquet
from cppo_verl.data.sources import SourceError, load_split
from cppo_verl.data.validation import hold_out

_SHOWN = 20  # findings printed of each kind


def main(recipe: Recipe, description: str, argv: Sequence[str] | None = None) -> int:
    """Write a parquet file a split; returns the exit code, 1 if nothing was written.

    Bad rows stop the run before anything is written, unless `--drop-bad-rows` leaves them out.
    """
    args = _parse_args(recipe, description, argv)
    return write_or_say(lambda: _prepare(recipe, args))


def write_or_say(make: Callable[[], dict[Path, list[dict]]]) -> int:
    """Write the files that `make` gives, or say why it gave none; the exit code."""
    try:
        files = make()
    except (SourceError, NothingWritten) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    write_parquet(files)
    for path, rows in files.items():
        print(f"{path}: {len(rows):,} rows")
    return 0


class NothingWritten(Exception):
    """What must change before the files can be written."""


def _prepare(recipe: Recipe, args: argparse.Namespace) -> dict[Path, list[dict]]:
    stale = args.local_dir / "validation.parquet"
    if "train" in recipe.data_sources and not args.validation and stale.exists():
        raise NothingWritten(f"{stale}: the train file would hold these questions too; delete it, or pass --validation")
    splits = {split: load_split(args.source or source, split) for split, source in recipe.data_sources.items()}
    checked = check(splits, recipe, show_progress, args.known_errors)
    _report(checked)
    if checked.errors and not args.drop_bad_rows:
        raise NothingWritten("nothing written; mend these rows or pass --drop-bad-rows")
    built = {
        split: build(split, rows, checked, recipe, style=args.style, policy=args.known_errors)
        for split, rows in splits.items()
    }
    if empty := [split for split, rows in built.items() if not rows]:
        raise NothingWritten(f"nothing written; no good row is left for {' and '.join(empty)}")
    if args.validation:
        try:
            built["train"], built["validation"] = hold_out(built["train"], args.validation)
        except ValueError as error:
            raise NothingWritten(f"nothing written; --validation: {error}") from error
    return {args.local_dir / f"{split}.parquet": rows for split, rows in built.items()}


def _parse_args(recipe: Recipe, description: str, argv: Sequence[str] | None) -> argparse.Namespace:
    default = " and ".join(dict.fromkeys(recipe.data_sources.values()))
    names = " and ".join(f"{split}.jsonl" for split in recipe.data_sources)
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--local_dir", type=Path, required=True, help="folder to write the parquet files to")
    parser.add_argument(
        "--source",
        help=f"hub id, or a folder with {names}, optionally .gz (default: {default})",
    )
    if "train" in recipe.data_sources:
        parser.add_argument(
            "--validation",
            type=int,
            default=0,
            metavar="N",
            help="hold N train questions out, always the same, into validation.parquet (default: 0)",
        )
    else:
        parser.set_defaults(validation=0)
    parser.add_argument("--drop-bad-rows", action="store_true", help="leave bad rows out instead of stopping")
    if recipe.known_errors:
        parser.add_argument(
            "--known-errors",
            choices=POLICIES,
            default="keep",
            help="golds known to be wrong: keep them as published, drop the rows, or mend them (default: keep)",
        )
    else:
        parser.set_defaults(known_errors="keep")
    styles = parser.add_mutually_exclusive_group()
    styles.add_argument(
        "--style",
        choices=recipe.styles,
        default="tags",
        help="where the answer is to stand: in <answer> tags, after ####, in \\boxed{} (default: tags)",
    )
    styles.add_argument(
        "--no-system-prompt",
        dest="style",
        action="store_const",
        const=None,
        help="question only, for small models whose context the instruction would fill",
    )
    return parser.parse_args(argv)


def show_progress(results: Iterable, total: int, split: str) -> Iterable:
    """`results` as they come, with a bar on stderr."""
    return track(results, f"checking {split}", total=total, console=Console(stderr=True))


def _report(checked: Checked) -> None:
    for title, findings in (("note", checked.notes), ("bad row", checked.errors)):
        for finding in findings[:_SHOWN]:
            print(f"{title}: {finding}", file=sys.stderr)
        if len(findings) > _SHOWN:
            print(f"{title}: and {len(findings) - _SHOWN:,} more", file=sys.stderr)
