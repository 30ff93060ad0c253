"""What is wrong with the rows of a run, before it starts: parquet files in verl's schema."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet as pq

NEEDED = ("data_source", "reward_model")
"""Columns besides the prompt's."""


class RowsError(ValueError):
    """Rows that a run cannot train or validate on; the message names the file and the first bad row."""


class MissingFile(RowsError):
    """There is no such file."""


@dataclass(frozen=True)
class Rows:
    """The rows of one file, checked."""

    path: Path
    prompts: list[list[dict[str, str]]]
    """Chat messages."""

    @property
    def questions(self) -> list[str]:
        """What tells rows apart: the last message, white space collapsed."""
        return [" ".join(messages[-1]["content"].split()) for messages in self.prompts]


def read_rows(path: Path, prompt_key: str = "prompt") -> Rows:
    """Read and check a file.

    Raises:
        RowsError: It is no readable parquet file, has no rows, lacks a column, or a row has no prompt or no gold, or
            one that is no text.
    """
    if path.is_dir():
        inside = ", ".join(sorted(file.name for file in path.glob("*.parquet"))) or "no parquet file in it"
        raise RowsError(f"{path} is a folder ({inside}); give a file")
    if not path.is_file():
        raise MissingFile(f"{path} is not there")
    try:
        names = pq.read_schema(path).names
        if lacking := [name for name in (prompt_key, *NEEDED) if name not in names]:
            raise RowsError(f"{path} has no column {', '.join(lacking)}; it has {', '.join(names) or 'none'}")
        rows = pq.read_table(path, columns=[prompt_key, *NEEDED]).to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise RowsError(f"{path} is not a readable parquet file ({str(error).splitlines()[0]})") from error
    if not rows:
        raise RowsError(f"{path} has no rows")
    for find in CHECKS:
        faults = {number: fault for number, row in enumerate(rows, start=1) if (fault := find(row, prompt_key))}
        if faults:
            first, more = next(iter(faults)), len(faults) - 1
            raise RowsError(f"{path}: {faults[first]} in row {first}" + (f" and {more} more" if more else ""))
    return Rows(path, [row[prompt_key] for row in rows])


def _prompt_fault(row: dict[str, Any], prompt_key: str) -> str | None:
    messages = row[prompt_key]
    if not (
        isinstance(messages, list)
        and messages
        and all(isinstance(m, dict) and isinstance(m.get("content"), str) and m.get("role") for m in messages)
    ):
        return "no chat messages (a list of role and content)"
    return None if messages[-1]["content"].strip() else "an empty question"


def _source_fault(row: dict[str, Any], _: str) -> str | None:
    return None if row["data_source"] else "no data_source"


def _gold_fault(row: dict[str, Any], _: str) -> str | None:
    gold = row["reward_model"].get("ground_truth") if isinstance(row["reward_model"], dict) else None
    if gold is None or (isinstance(gold, str) and not gold.strip()):
        return "no reward_model.ground_truth"
    if isinstance(gold, str):
        return None
    return f"a reward_model.ground_truth that is no text but {str(gold)[:80]} ({type(gold).__name__})"


CHECKS = (_prompt_fault, _source_fault, _gold_fault)
"""What says what is wrong with a row, if anything, in the order in which it is looked for."""


def overlong(rows: Rows, limit: int, tokenize: Callable[[list[dict[str, str]]], Sequence[int]]) -> str | None:
    """What to say if prompts are longer than `limit` tokens: verl would stop in the middle of a run.

    Only prompts of more bytes than the limit, less what the chat template adds, are tokenized: a token is at least a
    byte.
    """
    added: dict[tuple[str, ...], int] = {}
    lengths = {}
    for number, messages in enumerate(rows.prompts, start=1):
        roles = tuple(message["role"] for message in messages)
        if roles not in added:
            added[roles] = len(tokenize([{"role": role, "content": ""} for role in roles]))
        if sum(len(message["content"].encode()) for message in messages) + added[roles] > limit:
            lengths[number] = len(tokenize(messages))
    too_long = {number: length for number, length in lengths.items() if length > limit}
    if not too_long:
        return None
    return (
        f"{rows.path}: {len(too_long)} prompt(s) of more than data.max_prompt_length={limit} tokens, first in row "
        f"{min(too_long)}; set data.max_prompt_length={max(too_long.values())}, or leave them out with "
        "data.filter_overlong_prompts=true"
    )


def remarks(train: Sequence[Rows], val: Sequence[Rows]) -> Iterator[str]:
    """What is allowed but should be known: questions that occur twice, and validation questions in train."""
    seen: dict[str, str] = {}
    repeated = 0
    for rows in train:
        for number, question in enumerate(rows.questions, start=1):
            repeated += question in seen
            seen.setdefault(question, f"{rows.path} row {number}")
    if repeated:
        yield f"{repeated} question(s) occur more than once in the training data"
    for rows in val:
        if shared := [(number, seen[q]) for number, q in enumerate(rows.questions, start=1) if q in seen]:
            number, where = shared[0]
            yield (
                f"{len(shared)} of the {len(rows.prompts)} questions of {rows.path} are also in the training data "
                f"(row {number} is {where}): accuracy on them is not that on unseen questions"
            )
