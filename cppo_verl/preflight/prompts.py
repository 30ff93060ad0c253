"""The prompts of a run as its model will read them: through the tokenizer's chat template, with the run's settings."""

from __future__ import annotations

from collections.abc import Iterator

from omegaconf import DictConfig

from cppo_verl.data.check import Rows, RowsError, overlong, read_rows, too_few_left
from cppo_verl.data.prompt_settings import STYLE, SYSTEM, PromptSettings
from cppo_verl.data.prompts import style_of
from cppo_verl.data.templates import Prompts, TemplateError
from cppo_verl.hardware.model_files import code_fault, model_fault, num_embeddings
from cppo_verl.preflight.data import SPLITS, paths
from cppo_verl.preflight.plan import plan_from_config


def prompts_of(config: DictConfig) -> Prompts | None:
    """The tokenizer of a run with its settings; None where there is none to load, which other checks report."""
    model = config.actor_rollout_ref.model
    named, reads = model.tokenizer_path or model.path, {"trust_remote_code": model.trust_remote_code}
    if code_fault(named, **reads) or model_fault(model.path, **reads):
        return None
    try:
        return Prompts.load(named, PromptSettings.of(config), **reads)
    except (OSError, ValueError):
        return None


def prompt_faults(config: DictConfig) -> Iterator[str]:
    """Prompts that the chat template cannot render, or that are too long; a tokenizer without an end."""
    prompts = prompts_of(config)
    if prompts is None:
        return
    model = config.actor_rollout_ref.model
    yield from pad_faults(prompts, model.path, trust_remote_code=model.trust_remote_code)
    if why := _template_fault(config, prompts):
        yield why
        return
    for split in SPLITS:
        yield from _length_faults(config, prompts, split)


def pad_faults(prompts: Prompts, model: str, **reads: bool) -> Iterator[str]:
    """A tokenizer with nothing to pad by (verl takes the end token where there is no pad token), or to pad by what the
    model has no embedding of.

    Args:
        prompts: With the tokenizer.
        model: Folder or hub id.
        reads: `trust_remote_code`.
    """
    tokenizer = prompts.tokenizer
    pad = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    if pad is None:
        yield (
            f"the tokenizer of {prompts.model} has neither a pad token nor an end token; name one in its "
            "tokenizer_config.json (eos_token, pad_token)"
        )
        return
    vocabulary = num_embeddings(model, **reads)
    if vocabulary and pad >= vocabulary:
        yield (
            f"the tokenizer of {prompts.model} pads with token {pad} ({tokenizer.convert_ids_to_tokens(pad)!r}), but "
            f"the model has embeddings of {vocabulary} tokens (vocab_size); name another pad_token in its "
            "tokenizer_config.json, for example its end token"
        )


def _template_fault(config: DictConfig, prompts: Prompts) -> str | None:
    """The first prompt that cannot be rendered; of prompts with the same roles one is tried."""
    for rows in (rows for split in SPLITS for rows in _rows(config, split)):
        tried: set[tuple[str, ...]] = set()
        for number, messages in enumerate(rows.prompts, start=1):
            roles = tuple(message["role"] for message in messages)
            if roles in tried:
                continue
            tried.add(roles)
            try:
                prompts.text(messages)
            except TemplateError as error:
                return f"{rows.path}, row {number}: {error}" if prompts.has_template else str(error)
    return prompts.why_no_questions()


def _length_faults(config: DictConfig, prompts: Prompts, split: str) -> Iterator[str]:
    limit, files = config.data.max_prompt_length, _rows(config, split)
    try:
        if config.data.filter_overlong_prompts:
            needed = plan_from_config(config).questions if split == "train" else 1
            found = [too_few_left(files, limit, prompts.ids, needed)]
        else:
            found = [overlong(rows, limit, prompts.ids) for rows in files]
    except TemplateError as error:  # of a row's own text
        found = [str(error)]
    yield from filter(None, found)


def _rows(config: DictConfig, split: str) -> list[Rows]:
    """Of a split's files, those that can be read."""
    found = []
    for path in paths(config.data[f"{split}_files"]):
        try:
            found.append(read_rows(path, config.data.prompt_key))
        except RowsError:  # said elsewhere
            continue
    return found


def style_in_rows(config: DictConfig) -> str | None:
    """How the training rows ask for their answers (`prompts.style_of`), `own` where they differ; None without rows."""
    styles = {style_of(messages) for rows in _rows(config, "train") for messages in rows.prompts}
    return styles.pop() if len(styles) == 1 else "own" if styles else None


def setting_faults(config: DictConfig) -> Iterator[str]:
    """Settings of prompts that the run's rows, or its own data set class, would not follow."""
    found, told = style_in_rows(config), PromptSettings.of(config)
    if told.style and found and told.style != found:
        yield (
            f"{STYLE}={told.style}, but the rows of data.train_files ask in style {found}; leave it at null, or "
            f"prepare the data with --style {told.style}"
        )
    own = config.data.get("custom_cls")
    if told.system == "fold" and own and own.get("path"):
        yield f"{SYSTEM}=fold is not read by data.custom_cls.path={own.path}; fold the messages there, or in the rows"


def record_style(config: DictConfig) -> None:
    """Note in a run's config how its rows ask, so that its evaluation asks the same way."""
    config.data.style = PromptSettings.of(config).style or style_in_rows(config)
