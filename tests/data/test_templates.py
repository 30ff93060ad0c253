"""What a chat template makes of a question: what it refuses, what it opens, and the settings that it is given."""

from __future__ import annotations

import pytest
from chat_templates import CHAT_TEMPLATES, write_tokenizer

from cppo_verl.data.prompt_settings import PromptSettings
from cppo_verl.data.prompts import GSM8K_SYSTEM, MATH_SYSTEM, ask, fold_system, style_of
from cppo_verl.data.templates import Prompts, TemplateError
from cppo_verl.rewards.tags import left_open, whole_turn

ASKED = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "How many?"}]
NOT_THINKING = PromptSettings(kwargs={"enable_thinking": False})


@pytest.fixture(scope="module")
def prompts(tmp_path_factory):
    """`prompts("Qwen3", settings)`: a tokenizer of a family with settings."""

    def make(family: str | None, settings: PromptSettings | None = None) -> Prompts:
        folder = tmp_path_factory.mktemp("tokenizer")
        write_tokenizer(folder, family)
        return Prompts.load(str(folder), settings)

    return make


@pytest.mark.parametrize(
    ("family", "settings", "opening"),
    [
        ("ChatML", None, ""),
        ("R1-Distill", None, "<think>\n"),
        ("Qwen3-Thinking", None, "<think>\n"),
        ("Qwen3", None, ""),
        ("Qwen3", NOT_THINKING, ""),
        ("Qwen3.5", None, "<think>\n"),
        ("Qwen3.5", NOT_THINKING, ""),
        ("Gemma 2", None, ""),
        ("Mistral 0.1", None, ""),
        ("Llama 3", None, ""),
        ("ChatML", PromptSettings(template=CHAT_TEMPLATES["R1-Distill"]), "<think>\n"),
    ],
)
def test_what_a_template_opens_of_the_models_turn(prompts, family, settings, opening):
    made = prompts(family, settings)
    assert made.opening == opening
    last = made.text([{"role": "user", "content": "Is it <think>?"}])
    assert last.endswith(opening), "the prompt ends with it"


@pytest.mark.parametrize(
    ("written", "opening"),
    [
        ("<|im_start|>assistant\n<think>Okay, ", "<think>Okay, "),
        ("<think></think><answer>", "<answer>"),
        ("<think>1</think><think>", "<think>"),
        ("<|assistant|>", ""),
    ],
)
def test_left_open(written, opening):
    assert left_open(written) == opening


def test_a_turn_is_whole_with_what_was_opened():
    assert whole_turn("so", {"turn_opening": "<think>"}) == "<think>so"
    assert whole_turn("so", {}) == whole_turn("so", None) == "so"


@pytest.mark.parametrize("family", ["Gemma 2", "Mistral 0.1"])
def test_a_system_message_that_is_refused_can_be_folded(prompts, family):
    with pytest.raises(TemplateError, match=r"takes no system message \(TemplateError: .*data\.system=fold"):
        prompts(family).text(ASKED)
    folded = prompts(family, PromptSettings(system="fold"))
    assert "<|im_start|>user\nBe brief.\n\nHow many?<|im_end|>" in folded.text(ASKED)
    assert len(folded.ids(ASKED)) > 0


def test_other_refusals_say_what_they_are_of(prompts):
    with pytest.raises(TemplateError, match=r"has no chat template; .*custom_chat_template"):
        prompts(None).text(ASKED)
    assert prompts(None, PromptSettings(template=CHAT_TEMPLATES["ChatML"])).text(ASKED)
    twice = [ASKED[1], ASKED[1]]
    with pytest.raises(TemplateError, match="does not take messages of user, user"):
        prompts("Gemma 2").text(twice)
    with pytest.raises(TemplateError, match=r"apply_chat_template_kwargs=\{'add_generation_prompt': True\}"):
        prompts("ChatML", PromptSettings(kwargs={"add_generation_prompt": True})).text(ASKED)


def test_a_path_is_no_template(prompts):
    assert prompts("ChatML", PromptSettings(template="templates/mine.jinja")).why_no_questions()
    assert not any(prompts(family).why_no_questions() for family in CHAT_TEMPLATES)


def test_folding():
    system, user, assistant = ({"role": role, "content": role} for role in ("system", "user", "assistant"))
    folded = {"role": "user", "content": "system\n\nuser"}
    assert fold_system([system, user, assistant, user]) == [folded, assistant, user]
    assert fold_system([system, system, user])[0]["content"] == "system\n\nsystem\n\nuser"
    assert fold_system([user, system]) == [user, system], "nothing of the user follows"
    assert fold_system([user]) == [user]


def test_styles_are_found_in_prompts():
    styles = {style: style_of(ask("How many?", style, GSM8K_SYSTEM)) for style in ("tags", "hash", "boxed", None)}
    assert styles == {"tags": "tags", "hash": "hash", "boxed": "boxed", None: "none"}
    assert style_of(ask("How many?", "tags", MATH_SYSTEM)) == "tags"
    assert style_of(ASKED) == "own"
