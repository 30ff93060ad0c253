"""Misspelt options that Hydra takes: those of a recipe's file, and those after a `+`."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Iterator

import pytest

from cppo_verl.algorithm.errors import ConfigError
from cppo_verl.config.compose import compose
from cppo_verl.config.sources import choices, search_path
from cppo_verl.preflight.check import check
from cppo_verl.preflight.unknown import TYPE, known_options, unknown_faults

SET_BY_VERL = {
    *("architectures", "engine", "generation_config", "global_batch_info", "hf_config", "local_hf_config_path"),
    *("local_path", "local_tokenizer_path", "model_config", "processor", "tokenizer"),
}
"""Fields of verl's classes that are no options: verl fills them itself."""
RECIPES = [path.stem for path in choices("recipe")]


def test_a_recipes_file_is_read_key_by_key(tmp_path):
    """Hydra merges it without a look at its keys."""
    (tmp_path / "recipe").mkdir()
    (tmp_path / "recipe/mine.yaml").write_text(
        "# @package _global_\ndefaults: [toy]\ntrainer: {save_freqs: 3}\ndata: {max_promt_length: 99}\n"
    )
    folders = ",".join([*search_path(), f"file://{tmp_path}"])
    made = compose([f"hydra.searchpath=[{folders}]", "recipe=mine", "device=cpu"])
    with pytest.raises(ConfigError) as caught:
        check(made)
    assert "unknown option trainer.save_freqs; did you mean trainer.save_freq?" in str(caught.value)
    assert "unknown option data.max_promt_length; did you mean data.max_prompt_length?" in str(caught.value)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("+trainer.save_freqs=3", "unknown option trainer.save_freqs; did you mean trainer.save_freq?"),
        ("+algorithm.kl_coeff=1", "unknown option algorithm.kl_coeff; did you mean algorithm.kl_ctrl.kl_coef?"),
        ("+foo.bar=1", "unknown option foo; "),
        (
            "+actor_rollout_ref.actor.fsdp_config.param_offloads=true",
            "did you mean actor_rollout_ref.actor.fsdp_config",
        ),
    ],
)
def test_an_added_option_is_one_of_verls_or_ours(config, given, says):
    (fault,) = unknown_faults(config("recipe=toy", given))
    assert says in fault


@pytest.mark.parametrize(
    "given",
    [
        "+own.anything=1",
        "+actor_rollout_ref.rollout.engine_kwargs.vllm.seed=1",
        "+actor_rollout_ref.model.override_config.rope_theta=1",
        "+reward.custom_reward_function.reward_kwargs.bonus=1",
        "+data.apply_chat_template_kwargs.enable_thinking=true",
        "+data.custom_cls={path:mine.py,name:Mine} +data.of_mine=1",
        "+ray_kwargs.ray_init.address=auto",
        "+ray_kwargs.ray_init.runtime_env.env_vars.MINE=1",
        "+critic.model.load_tokenizer=false",
        "++actor_rollout_ref.actor.router_replay.mode=R2",
        "++trainer.remove_previous_ckpt_in_save=true",
        "+trainer.wandb_proxy=http://proxy:8080",
        "+trainer.rl_insight.url=http://insight",
    ],
)
def test_what_someone_else_reads_is_free(config, given):
    assert (
        list(unknown_faults(config("recipe=toy", *given.replace("+data.custom_cls", "data.custom_cls").split()))) == []
    )


@pytest.mark.parametrize("recipe", RECIPES)
def test_no_shipped_recipe_has_an_unknown_option(config, recipe):
    for chosen in (["device=gpu"], ["device=cpu", "mode=save_best"], ["mode=separate_async"]):
        assert list(unknown_faults(config(f"recipe={recipe}", *chosen))) == []


@pytest.mark.parametrize("engine", ["dp", "megatron", "veomni", "torchtitan"])
def test_what_is_known_is_what_is_composed(config, engine):
    assert list(unknown_faults(config(f"model_engine={engine}"))) == []


@pytest.mark.parametrize("engine", ["dp", "megatron", "veomni", "torchtitan"])
def test_each_field_of_a_class_of_verls_is_known(engine):
    """A field that is new to verl fails here."""
    for path, block in typed(known_options(engine)):
        module, _, name = block[TYPE].rpartition(".")
        fields = {field.name for field in dataclasses.fields(getattr(importlib.import_module(module), name))}
        public = {name for name in fields if not name.startswith("_")}
        assert public - SET_BY_VERL - block.keys() == set(), path


def test_nothing_is_said_of_an_engine_of_which_verl_ships_no_whole_config():
    assert known_options("another") is None


def typed(node: dict, path: str = "") -> Iterator[tuple[str, dict]]:
    """The blocks that become objects of classes."""
    if TYPE in node:
        yield path, node
    for name, child in node.items():
        if isinstance(child, dict):
            yield from typed(child, f"{path}.{name}")
