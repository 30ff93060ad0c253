"""What the chat template has written of a completion's turn, for the rewards."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from cppo_verl.data.prompt_settings import PromptSettings
from cppo_verl.data.templates import Prompts
from cppo_verl.rewards.tags import OPENING


class OpenedTurns:
    """A mixin over verl's agent-loop workers: a tag that the template opens in the prompt goes to the rewards, of
    training and of validation, as `extra_info.turn_opening` (a completion begins after it)."""

    async def _compute_score(self, outputs: list, kwargs: dict) -> None:
        await super()._compute_score(outputs, with_opening(kwargs, self.opening))

    async def _score_group(self, outputs: list, question: Mapping[str, Any]) -> None:
        await super()._score_group(outputs, with_opening(question, self.opening))

    @cached_property
    def opening(self) -> str:
        """Of every turn of the run; see `data.templates.Prompts.opening`."""
        return Prompts(self.processor or self.tokenizer, PromptSettings.of(self.config)).opening


def with_opening(columns: Mapping[str, Any], opening: str) -> Mapping[str, Any]:
    """A question's columns, whose `extra_info` has the opening where there is one; the question's own stay as they
    are."""
    if not opening:
        return columns
    return {**columns, "extra_info": {**(columns.get("extra_info") or {}), OPENING: opening}}
