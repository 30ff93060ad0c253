"""How a run puts its questions to a model, as far as it is not in the rows themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from omegaconf import DictConfig, OmegaConf

from cppo_verl.data.prompts import SystemRole

TEMPLATE, SFT_TEMPLATE = "actor_rollout_ref.model.custom_chat_template", "model.custom_chat_template"
KWARGS, SYSTEM, STYLE = "data.apply_chat_template_kwargs", "data.system", "data.style"


@dataclass(frozen=True)
class PromptOptions:
    """What the options are called that errors offer as a way out."""

    template: str = TEMPLATE
    system: str | None = SYSTEM
    """None where system messages cannot be folded."""


@dataclass(frozen=True)
class PromptSettings:
    """Of the prompts of a run, or of an evaluation."""

    template: str | None = None
    """A chat template (Jinja) instead of the tokenizer's own: `actor_rollout_ref.model.custom_chat_template`."""
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    """What the template is given besides the messages: `data.apply_chat_template_kwargs`."""
    system: SystemRole = "keep"
    """What becomes of system messages: `data.system`."""
    style: str | None = None
    """How the answer is asked for, as `prompts.style_of` names it: `data.style`. None: as the rows do."""

    @classmethod
    def of(cls, config: DictConfig, template: str = TEMPLATE) -> PromptSettings:
        """Those of a config, which need not have all of the keys; a supervised warm start has another for the
        template."""
        kwargs = OmegaConf.select(config, KWARGS) or {}
        return cls(
            template=OmegaConf.select(config, template),
            kwargs=OmegaConf.to_container(kwargs, resolve=True) if OmegaConf.is_config(kwargs) else dict(kwargs),
            system=OmegaConf.select(config, SYSTEM) or "keep",
            style=OmegaConf.select(config, STYLE),
        )

    def overridden(self, config: DictConfig) -> PromptSettings:
        """These, with what another config sets; of the template's arguments one by one."""
        own = PromptSettings.of(config)
        return PromptSettings(
            template=self.template if own.template is None else own.template,
            kwargs={**self.kwargs, **own.kwargs},
            system=OmegaConf.select(config, SYSTEM) or self.system,
            style=self.style if own.style is None else own.style,
        )

    def as_dict(self) -> dict[str, Any]:
        """What is set, and so differs from a tokenizer's own template and the rows as they are; of a template the
        whole text."""
        plain = asdict(PromptSettings())
        return {name: value for name, value in asdict(self).items() if value != plain[name]}

    def __str__(self) -> str:
        set_ = self.as_dict()
        if "template" in set_:
            set_["template"] = f"custom, of {len(set_['template'])} characters"
        named = {"template": TEMPLATE, "kwargs": KWARGS, "system": SYSTEM, "style": STYLE}
        return ", ".join(f"{named[name]}={value}" for name, value in set_.items()) or "the model's own chat template"
