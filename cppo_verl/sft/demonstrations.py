"""The demonstrations of supervised fine-tuning: what is wrong with them, and how they are rendered."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow
import pyarrow.parquet as pq
from omegaconf import DictConfig

from cppo_verl.algorithm.errors import first_line
from cppo_verl.data.check import role_fault
from cppo_verl.data.prompt_settings import SFT_TEMPLATE, PromptOptions, PromptSettings
from cppo_verl.data.templates import Prompts, TemplateError
from cppo_verl.hardware.model_files import num_positions
from cppo_verl.preflight.data import paths
from cppo_verl.preflight.prompts import pad_faults

OPTIONS = PromptOptions(template=SFT_TEMPLATE, system=None)


def prompt_settings(config: DictConfig) -> PromptSettings:
    """How demonstrations are rendered, and so how the model is to be asked."""
    return PromptSettings.of(config, template=OPTIONS.template)


def num_rows(config: DictConfig, split: str) -> int:
    """Demonstrations that a run takes of `train` or `val`."""
    rows = sum(pq.read_metadata(path).num_rows for path in paths(config.data[f"{split}_files"] or []))
    limit = config.data[f"{split}_max_samples"]
    return rows if limit < 0 else min(rows, limit)


def row_faults(config: DictConfig, split: str) -> Iterator[str]:
    """Files that are not there or hold no demonstrations, and fewer rows than a step takes."""
    key, column = f"data.{split}_files", config.data.messages_key
    unreadable = False
    for path in paths(config.data[f"{split}_files"] or []):
        why = None
        try:
            why = None if column in pq.read_schema(path).names else f"{path} has no column {column}"
        except FileNotFoundError:
            why = f"{path} is not there"
        except (pyarrow.ArrowException, OSError) as error:
            why = f"{path} is not a readable parquet file ({first_line(error)})"
        if why:
            unreadable = True
            yield f"{key}: {why}; {config.data_hint}"
    if unreadable or (split == "val" and not config.data.val_files):
        return
    rows, batch = num_rows(config, split), config.data.train_batch_size
    if rows < batch:  # verl drops the last, incomplete batch, and would take the mean of no validation loss
        yield f"{key}: a step takes {batch} demonstrations (data.train_batch_size) but there are {rows}"


def length_faults(config: DictConfig) -> Iterator[str]:
    """Demonstrations that are too long: verl would stop in the middle of a run, or cut their answers off."""
    limit, model = config.data.max_length, config.model
    reads = {"trust_remote_code": model.trust_remote_code}
    positions = num_positions(model.path, **reads)
    if positions and limit > positions:
        yield f"data.max_length={limit} is more than the {positions} positions of {model.path}; set it to {positions}"
    prompts = Prompts.load(model.tokenizer_path or model.path, prompt_settings(config), OPTIONS, **reads)
    yield from pad_faults(prompts, model.path, **reads)
    if why := prompts.why_no_questions():
        yield why
        return
    for path in [*paths(config.data.train_files), *paths(config.data.val_files or [])]:
        try:
            yield from filter(None, [_long_rows(path, config.data.messages_key, prompts, limit)])
        except TemplateError as error:
            yield f"{path}, {error}"


def _long_rows(path: Path, column: str, prompts: Prompts, limit: int) -> str | None:
    """
    Raises:
        TemplateError: A row cannot be rendered, or has a role that is none; the message begins with its number.
    """
    lengths, rendered = {}, set()
    for number, chat in enumerate(pq.read_table(path)[column].to_pylist(), start=1):
        if why := role_fault(chat):
            raise TemplateError(f"row {number}: {column} holds {why}")
        try:
            text = prompts.text(chat, generation_prompt=False)
            if (roles := frozenset(message["role"] for message in chat)) not in rendered:
                _render_apart(chat, prompts)
                rendered.add(roles)
        except TemplateError as error:
            raise TemplateError(f"row {number}: {error}") from error
        if len(text.encode()) > limit:  # a token is at least a byte
            lengths[number] = len(prompts.tokenizer(text, add_special_tokens=False)["input_ids"])  # the text has them
    too_long = {number: length for number, length in lengths.items() if length > limit}
    if not too_long:
        return None
    return (
        f"{path}: {len(too_long)} demonstration(s) of more than data.max_length={limit} tokens, first in row "
        f"{min(too_long)}; set data.max_length={max(too_long.values())}, or leave these rows out"
    )


def _render_apart(chat: list[dict[str, str]], prompts: Prompts) -> None:
    """Render a demonstration as verl 0.9.1's data set does: two messages of the user's, to find the system prompt, and
    each message by itself, or where that cannot be behind one of the user's.

    Raises:
        TemplateError: The template takes only whole chats.
    """
    asked = {"role": "user", "content": ""}
    try:
        prompts.text([asked, asked], generation_prompt=False)
        for message in chat:
            try:
                prompts.text([message], generation_prompt=False)
            except TemplateError:
                prompts.text([asked, message], generation_prompt=False)
    except TemplateError as error:
        raise TemplateError(
            f"{error}: verl 0.9.1 renders each message of a demonstration by itself, and two of the user's in a row; "
            f"give {OPTIONS.template} a template that takes them, which writes the same otherwise"
        ) from error
