"""What is wrong with the rows of a run, before it starts: parquet files in verl's schema."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet as pq

from cppo_verl.algorithm.errors import first_line

NEEDED = ("data_source", "reward_model")
"""Columns besides the prompt's."""
ROLES = {
    "system": None,
    "developer": None,
    "user": None,
    "assistant": None,
    "tool": None,
    "human": "user",
    "gpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
}
"""Roles of messages to None, and what is often found in their place to the role that it is."""
ASKING = ("user", "tool")
"""Roles of a prompt's last message."""
Tokenize = Callable[[list[dict[str, str]]], Sequence[int]]
"""From messages to tokens."""


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
        """What tells rows apart: what the user says last, white space collapsed."""
        asked = [[m["content"] for m in messages if m["role"] == "user"] for messages in self.prompts]
        return [" ".join(said[-1].split()) if said else "" for said in asked]


def read_rows(path: Path, prompt_key: str = "prompt") -> Rows:
    """Read and check a file.

    Raises:
        RowsError: It is no readable parquet file, has no rows, lacks a column, or a row has no prompt, one of unknown
            roles or that does not end with a question, or no gold, or one that is no text.
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
        raise RowsError(f"{path} is not a readable parquet file ({first_line(error)})") from error
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


def role_fault(messages: Sequence[dict[str, Any]]) -> str | None:
    """What is wrong with the roles of a chat, if anything: a template would write any word into the prompt."""
    unknown = next((message["role"] for message in messages if ROLES.get(message["role"], "") is not None), None)
    if unknown is None:
        return None
    roles = ", ".join(role for role, meant in ROLES.items() if meant is None)
    known = f" (write {ROLES[unknown]})" if unknown in ROLES else ""
    return f"a message of the role {unknown!r}, none of {roles}{known}"


def _role_fault(row: dict[str, Any], prompt_key: str) -> str | None:
    why = role_fault(row[prompt_key])
    return why and f"{prompt_key} holds {why}"


def _last_fault(row: dict[str, Any], prompt_key: str) -> str | None:
    role = row[prompt_key][-1]["role"]
    if role in ASKING:
        return None
    answers = " (an answer there would be in the prompt)" if role == "assistant" else ""
    return f"{prompt_key} ends with a message of the {role}, not with the user's question{answers}"


def _source_fault(row: dict[str, Any], _: str) -> str | None:
    return None if row["data_source"] else "no data_source"


def _gold_fault(row: dict[str, Any], _: str) -> str | None:
    gold = row["reward_model"].get("ground_truth") if isinstance(row["reward_model"], dict) else None
    if gold is None or (isinstance(gold, str) and not gold.strip()):
        return "no reward_model.ground_truth"
    if isinstance(gold, str):
        return None
    return f"a reward_model.ground_truth that is no text but {str(gold)[:80]} ({type(gold).__name__})"


CHECKS = (_prompt_fault, _role_fault, _last_fault, _source_fault, _gold_fault)
"""What says what is wrong with a row, if anything, in the order in which it is looked for."""


def lengths(rows: Rows, limit: int, tokenize: Tokenize) -> Iterator[int | None]:
    """Tokens of each prompt; None of one that cannot be longer than `limit`, and so is not tokenized: it has no more
    bytes than that, less what the chat template adds, and a token is at least a byte."""
    added: dict[tuple[str, ...], int] = {}
    for messages in rows.prompts:
        roles = tuple(message["role"] for message in messages)
        if roles not in added:
            added[roles] = len(tokenize([{"role": role, "content": ""} for role in roles]))
        is_long = sum(len(message["content"].encode()) for message in messages) + added[roles] > limit
        yield len(tokenize(messages)) if is_long else None


def overlong(rows: Rows, limit: int, tokenize: Tokenize) -> str | None:
    """What to say if prompts are longer than `limit` tokens: verl would stop in the middle of a run."""
    found = enumerate(lengths(rows, limit, tokenize), start=1)
    too_long = {number: length for number, length in found if length is not None and length > limit}
    if not too_long:
        return None
    return (
        f"{rows.path}: {len(too_long)} prompt(s) of more than data.max_prompt_length={limit} tokens, first in row "
        f"{min(too_long)}; set data.max_prompt_length={max(too_long.values())}, or leave them out with "
        "data.filter_overlong_prompts=true"
    )


def too_few_left(files: Sequence[Rows], limit: int, tokenize: Tokenize, needed: int) -> str | None:
    """What to say if fewer than `needed` prompts of the files have at most `limit` tokens, where the others are left
    out; no more are tokenized than it takes to know."""
    fitting, longer = 0, []
    for length in (length for rows in files for length in lengths(rows, limit, tokenize)):
        if length is not None and length > limit:
            longer.append(length)
        else:
            fitting += 1
        if fitting >= needed:
            return None
    if fitting + len(longer) < needed:  # whatever their length: said elsewhere
        return None
    return (
        f"{', '.join(str(rows.path) for rows in files)}: {fitting} of {fitting + len(longer)} prompts have at most "
        f"data.max_prompt_length={limit} tokens, and data.filter_overlong_prompts=true leaves out the others, but "
        f"{needed} are needed; nearest that works: data.max_prompt_length={sorted(longer)[needed - fitting - 1]}"
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
