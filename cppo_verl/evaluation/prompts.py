"""How a model is asked: as it was trained, and the tokens of the prompts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from cppo_verl.algorithm.errors import ConfigError, not_one_of
from cppo_verl.data.prompt_settings import SFT_TEMPLATE, STYLE, SYSTEM, TEMPLATE, PromptSettings
from cppo_verl.data.templates import Prompts, TemplateError
from cppo_verl.evaluation.benchmarks import OF_NUMBERS, Benchmark, Question, in_style
from cppo_verl.evaluation.generate import Request
from cppo_verl.hardware.model_files import num_positions
from cppo_verl.runs.folder import CONFIG_FILE

NOTED = "prompt_settings.json"
"""In an exported model's folder: how the run that it is of put its questions."""
_CHECKPOINT = "global_step_"


def settings_of_run(model: str) -> tuple[PromptSettings, Path | None]:
    """The prompt settings of the run that a model is of, and the file that has them.

    Args:
        model: As `models.find_model` takes it.

    Returns:
        Of a run's folder, its `best`, a checkpoint, an export in one, and an export elsewhere; plain settings and None
        of any other model.
    """
    folder = Path(model).expanduser().absolute()
    if (folder / NOTED).is_file():
        return PromptSettings(**json.loads((folder / NOTED).read_text(encoding="utf-8"))), folder / NOTED
    places = [folder.parent if (folder / "config.json").is_file() else folder]
    while places[-1].name == "best" or places[-1].name.startswith(_CHECKPOINT):
        places.append(places[-1].parent)
    if places[0] != folder and len(places) == 1:  # a model that is in no checkpoint
        places = []
    for file in (place / CONFIG_FILE for place in places):
        if file.is_file() and (config := OmegaConf.load(file)).keys() & {"actor_rollout_ref", "model"}:
            return PromptSettings.of(config, TEMPLATE if "actor_rollout_ref" in config else SFT_TEMPLATE), file
    return PromptSettings(), None


def note_settings(checkpoint: Path, export: Path) -> None:
    """Write the prompt settings of a checkpoint's run into an exported model, where there are any."""
    settings, file = settings_of_run(str(checkpoint))
    if file is not None:
        write_settings(settings, export)


def write_settings(settings: PromptSettings, export: Path) -> None:
    """Write prompt settings into a model's folder, where `settings_of_run` finds them."""
    (export / NOTED).write_text(json.dumps(settings.as_dict(), indent=2) + "\n", encoding="utf-8")


def choose_settings(config: DictConfig) -> tuple[PromptSettings, str]:
    """The settings of an evaluation: those of the model's run, but for what its own config sets.

    Returns:
        The settings, and a line that says which they are and whose.

    Raises:
        ConfigError: There is no such word.
    """
    words = {SYSTEM: ("keep", "fold"), STYLE: tuple(OF_NUMBERS)}
    given = {key: OmegaConf.select(config, key) for key in words}
    if wrong := [why for key, word in given.items() if word is not None for why in not_one_of(key, word, words[key])]:
        raise ConfigError(*wrong)
    of_run, file = settings_of_run(config.model)
    chosen = of_run.overridden(config)
    whose = (
        "" if file is None else f" (of {file}" + (", with this evaluation's own options)" if chosen != of_run else ")")
    )
    return chosen, f"prompts: {chosen}{whose}"


def asked(questions: list[Question], benchmark: Benchmark, config: DictConfig, settings: PromptSettings):
    """A benchmark's questions in the style of the settings.

    Returns:
        The questions; as their file asks them where that is the style of a run (`own`, or one that the benchmark has
        no reward for), not one that the evaluation's config sets.

    Raises:
        ConfigError: See `benchmarks.in_style`.
    """
    style = settings.style
    if style is None or (OmegaConf.select(config, STYLE) is None and style not in benchmark.styles):
        return questions
    return in_style(questions, benchmark, style)


def tokenized(
    model: str, requests: Sequence[Request], settings: PromptSettings, max_tokens: int
) -> tuple[dict[str, list[int]], str]:
    """The prompts of requests.

    Args:
        model: Folder or hub id.
        requests: What will be asked.
        settings: How.
        max_tokens: Of the longest completion.

    Returns:
        Token ids by the requests' keys, and what the chat template writes of the model's turn.

    Raises:
        ConfigError: The chat template cannot render a prompt, or prompt and completion do not fit the model's context.
    """
    prompts = Prompts.load(model, settings)
    try:
        ids = {request.key: prompts.ids(request.question.messages) for request in requests}
        if why := prompts.why_no_questions():
            raise ConfigError(why)
        opening = prompts.opening
    except TemplateError as error:
        raise ConfigError(str(error)) from error
    longest, context = max(map(len, ids.values())), num_positions(model)
    if context and longest + max_tokens > context:
        raise ConfigError(
            f"sampling.max_tokens={max_tokens}: with the longest prompt of {longest} tokens that is beyond the "
            f"model's context of {context}; sampling.max_tokens={max(context - longest, 0)} fits"
        )
    return ids, opening
