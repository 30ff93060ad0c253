"""Raw splits, from the Hugging Face hub or from a local folder of JSON Lines files."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

from cppo_verl.algorithm.errors import first_line

HUB_CONFIGS = {"openai/gsm8k": "main", "Hothan/OlympiadBench": "OE_TO_maths_en_COMP"}
"""Configuration to load where a hub data set has several."""

HUB_SPLITS = dict.fromkeys(("Hothan/OlympiadBench", "HuggingFaceH4/aime_2024"), "train")
"""What the hub calls the only split, where its name is not ours."""


class SourceError(Exception):
    """The raw data cannot be read; the message is one line for the person who started the run."""


def load_split(source: str, split: str) -> list[dict]:
    """All rows of `train` or `test`.

    Args:
        source: a folder with a `.jsonl` file of the split's name, optionally `.gz`; else a hub id.
        split: `train` or `test`.

    Raises:
        SourceError: a file is missing, doubled, empty or not JSON Lines, or the hub gives no such split.
    """
    folder = Path(source).expanduser()
    return read_jsonl(_find(folder, split)) if folder.is_dir() else _from_hub(source, split)


def read_jsonl(path: Path) -> list[dict]:
    """Rows of a JSON Lines file; row n is line n, so blank lines are refused.

    Raises:
        SourceError: naming the file, and the line where there is one to blame.
    """
    rows = []
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                rows.append(_parse_line(line, f"{path}, line {number}"))
    except (OSError, EOFError) as error:  # a broken gzip raises either
        raise SourceError(f"{path}: cannot be read: {error}") from error
    if not rows:
        raise SourceError(f"{path}: the file is empty")
    return rows


def _parse_line(line: bytes, place: str) -> dict:
    try:
        row = json.loads(line)
    except ValueError as error:  # not JSON, or not UTF-8
        raise SourceError(f"{place}: not JSON: {error}") from error
    if not isinstance(row, dict):
        raise SourceError(f"{place}: a JSON object is needed, not {type(row).__name__}")
    return row


def _find(folder: Path, split: str) -> Path:
    names = [f"{split}.jsonl", f"{split}.jsonl.gz"]
    found = [folder / name for name in names if (folder / name).exists()]
    if len(found) != 1:
        what = "holds both, and one must go:" if found else "has neither"
        raise SourceError(f"{folder}: {what} {' and '.join(names) if found else ' nor '.join(names)}")
    return found[0]


def _from_hub(source: str, split: str) -> list[dict]:
    from datasets import load_dataset  # here, because it takes seconds and a folder does not need it

    try:
        return load_dataset(source, HUB_CONFIGS.get(source), split=HUB_SPLITS.get(source, split)).to_list()
    except (OSError, ValueError) as error:  # no network, no such data set; no such split or configuration
        raise SourceError(
            f"{source}: no such folder, and loading split {split!r} from the hub failed ({first_line(error)}); "
            f"check the name and the network, or pass --source with a folder that holds {split}.jsonl"
        ) from error
