"""Questions as a model reads them: its tokenizer's chat template, and how a run sets it.

Training, the checks before it and the evaluation render the same messages by the same settings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cppo_verl.algorithm.errors import first_line
from cppo_verl.data.prompt_settings import PromptOptions, PromptSettings
from cppo_verl.data.prompts import fold_system
from cppo_verl.rewards.tags import left_open

Messages = Sequence[Mapping[str, str]]
_PROBE = "PROBE"


class TemplateError(ValueError):
    """A chat template that cannot render a prompt; the message names the model, the cause and the way out."""


class Prompts:
    """A tokenizer with a run's settings.

    Args:
        tokenizer: transformers'; its template is replaced where the settings have one.
        settings: The run's.
        model: Named by errors.
        options: Named by errors.
    """

    def __init__(
        self,
        tokenizer: Any,
        settings: PromptSettings | None = None,
        model: str = "",
        options: PromptOptions | None = None,
    ):
        self.tokenizer = tokenizer
        self.settings, self.options = settings or PromptSettings(), options or PromptOptions()
        self.model = model or getattr(tokenizer, "name_or_path", "")
        if self.settings.template is not None:
            tokenizer.chat_template = self.settings.template

    @classmethod
    def load(
        cls, path: str, settings: PromptSettings | None = None, options: PromptOptions | None = None, **reads: Any
    ) -> Prompts:
        """With the tokenizer of a folder or hub id.

        Raises:
            OSError: There is none.
            ValueError: The same.
        """
        from transformers import AutoTokenizer

        named = Path(path).expanduser()
        return cls(AutoTokenizer.from_pretrained(named if named.exists() else path, **reads), settings, path, options)

    def text(self, messages: Messages, *, generation_prompt: bool = True) -> str:
        """A prompt's text.

        Args:
            messages: As in the rows.
            generation_prompt: Whether the model's turn is begun.

        Raises:
            TemplateError: There is no template, or it does not take these messages or settings.
        """
        return self._render(messages, tokenize=False, add_generation_prompt=generation_prompt)

    def ids(self, messages: Messages) -> list[int]:
        """A prompt's tokens, each special one once, with the model's turn begun.

        Raises:
            TemplateError: See `text`.
        """
        return self._render(messages, tokenize=True, add_generation_prompt=True)

    @property
    def opening(self) -> str:
        """What the template writes of the model's turn; see `tags.left_open`."""
        return left_open(self.generation_prompt)

    @property
    def generation_prompt(self) -> str:
        """What the template writes after the last message for the model to go on from; empty where it does not take a
        user's message alone."""
        asked = [{"role": "user", "content": _PROBE}]
        try:
            ended, begun = (self.text(asked, generation_prompt=begins) for begins in (False, True))
        except TemplateError:
            return ""
        same = next((at for at, pair in enumerate(zip(ended, begun, strict=False)) if pair[0] != pair[1]), len(ended))
        return begun[max(same, begun.rfind(_PROBE) + len(_PROBE)) :]

    @property
    def turn_end(self) -> int | None:
        """Id of the token with which the template ends the model's turn; None where it writes plain text, or does not
        take a turn of the model's."""
        try:
            text = self.text(
                [{"role": "user", "content": "?"}, {"role": "assistant", "content": _PROBE}], generation_prompt=False
            )
        except TemplateError:
            return None
        after = self.tokenizer(text.rpartition(_PROBE)[2].lstrip(), add_special_tokens=False)["input_ids"]
        return after[0] if after and after[0] in self.tokenizer.get_added_vocab().values() else None

    @property
    def has_template(self) -> bool:
        """Whether there is one, whatever it is worth."""
        return bool(self.tokenizer.chat_template or self.settings.kwargs.get("chat_template"))

    def why_no_questions(self) -> str | None:
        """What to say of a template that writes nothing of what the user says, as the path of a template's file would
        not."""
        try:
            if _PROBE in self.text([{"role": "user", "content": _PROBE}]):
                return None
        except TemplateError:  # it wants other messages
            return None
        return (
            f"the chat template of {self.model} writes nothing of what the user says: it is "
            f"{str(self.tokenizer.chat_template)[:60]!r}; {self.options.template} is the text of a template, not a "
            "file's path"
        )

    def _render(self, messages: Messages, **asked: Any) -> Any:
        messages = fold_system(messages) if self.settings.system == "fold" else [dict(message) for message in messages]
        try:
            return self.tokenizer.apply_chat_template(messages, return_dict=False, **asked, **self.settings.kwargs)
        except Exception as error:  # a template raises what it likes, and what it is not written for
            raise TemplateError(self._why(messages, error)) from error

    def _why(self, messages: Messages, error: Exception) -> str:
        if not self.has_template:
            return (
                f"the tokenizer of {self.model} has no chat template; give one with "
                f"{self.options.template}, or a model that has one (base models often have none, "
                "their instruct models do)"
            )
        told = f"{type(error).__name__}: {first_line(error)}"
        roles = [message["role"] for message in messages]
        if self.settings.kwargs and Prompts(self.tokenizer, PromptSettings(), self.model)._takes(messages):
            return (
                f"the chat template of {self.model} does not take data.apply_chat_template_kwargs="
                f"{dict(self.settings.kwargs)} ({told})"
            )
        if "system" in roles and self._takes([m for m in messages if m["role"] != "system"]):
            fold = f"{self.options.system}=fold writes it before what the user says, or " if self.options.system else ""
            return (
                f"the chat template of {self.model} takes no system message ({told}); {fold}prepare the data with "
                "--no-system-prompt or another --style"
            )
        return f"the chat template of {self.model} does not take messages of {', '.join(roles)} ({told})"

    def _takes(self, messages: Messages) -> bool:
        try:
            self.tokenizer.apply_chat_template(messages, tokenize=False, **self.settings.kwargs)
        except Exception:  # noqa: BLE001 - as in `_render`
            return False
        return True
