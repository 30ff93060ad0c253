"""What should be known of a chat template before a run, in which no fault was found."""

from __future__ import annotations

from collections.abc import Iterator

from omegaconf import DictConfig

from cppo_verl.data.templates import Prompts
from cppo_verl.hardware.model_files import read_config
from cppo_verl.preflight.prompts import prompts_of
from cppo_verl.rewards.tags import TAGS


def remarks_on_prompts(config: DictConfig) -> list[str]:
    """Tags that the template opens or closes in the prompt, and a turn that nothing ends."""
    prompts = prompts_of(config)
    return [] if prompts is None else [*_remarks_on_tags(prompts), *_remarks_on_ends(config, prompts)]


def _remarks_on_tags(prompts: Prompts) -> Iterator[str]:
    named = "the chat template" if prompts.settings.template else f"the chat template of {prompts.model}"
    opening, begun = prompts.opening, prompts.generation_prompt
    if opening:
        yield (
            f"{named} opens {opening.strip()} in the prompt: completions begin after it; rewards are given it as "
            "extra_info.turn_opening, and the shipped ones count it to the completion"
        )
    elif closed := [tag for tag in TAGS[1::2] if tag in begun]:
        yield (
            f"{named} writes a closed block ({closed[0]}) into the prompt, before the model's turn: the shipped "
            "rewards ask for blocks of the model's own"
        )


def _remarks_on_ends(config: DictConfig, prompts: Prompts) -> Iterator[str]:
    """A template that ends a turn with a token at which the engine does not stop."""
    ends, turn_end = _ends(config.actor_rollout_ref.model, prompts), prompts.turn_end
    if turn_end is None or not ends or turn_end in ends:
        return
    token, *others = prompts.tokenizer.convert_ids_to_tokens([turn_end, *sorted(ends)])
    names = ", ".join(map(repr, others))
    yield (
        f"the chat template ends a turn with {token!r}, but the model stops at {names}: completions may go on to "
        f"data.max_response_length; add {turn_end} to eos_token_id of its generation_config.json"
    )


def _ends(model: DictConfig, prompts: Prompts) -> set[int]:
    """Tokens at which vLLM ends a completion: the tokenizer's end token, and those of the generation config, or of the
    model's where there is none."""
    from transformers import GenerationConfig

    try:
        named = GenerationConfig.from_pretrained(model.path).eos_token_id
    except (OSError, ValueError):
        named = read_config(model.path, trust_remote_code=model.trust_remote_code).get_text_config().eos_token_id
    listed = named if isinstance(named, list) else [named]
    return {end for end in (prompts.tokenizer.eos_token_id, *listed) if end is not None}
