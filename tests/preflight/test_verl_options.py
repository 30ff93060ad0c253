"""Every leaf of verl's config is read by something that runs in our trainers, refused when it is changed, or listed."""

from __future__ import annotations

import ast
import inspect
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf

from cppo_verl.preflight import unread_options
from cppo_verl.preflight.refusals import refusals
from cppo_verl.preflight.unread import _of_modes, unread, unread_faults
from cppo_verl.preflight.unread_options import FOLLOWS

OURS = ("cppo", "dry_run", "data_hint", "weight_transport")
CHOICE = "model_engine"
"""Chooses verl's files for the engine; another one has other leaves (`test_other_engines.py`)."""
OTHER_TRAINERS = ("fully_async_policy", "one_step_off_policy", "sft_trainer", "main_eval", "main_generation")
"""Parts of verl that do not run here."""
FILE = re.compile(r"(?P<package>verl|cppo_verl)/(?P<path>[\w/]+\.py)(::(?P<method>\w+))?$")
V0 = ("trainer.use_v1=false", "actor_rollout_ref.actor.strategy=fsdp2")
V1 = ("trainer.use_v1=true", "trainer.v1.trainer_mode=cppo_separate_async", "actor_rollout_ref.actor.strategy=fsdp")


@pytest.fixture(scope="module")
def leaves(compose_config) -> dict[str, object]:
    """Key to value, interpolations as they are written."""
    whole = OmegaConf.to_container(compose_config())
    return dict(_leaves({key: node for key, node in whole.items() if key not in (*OURS, CHOICE)}))


def _leaves(node: object, prefix: str = "") -> Iterator[tuple[str, object]]:
    if isinstance(node, dict) and node:
        for key, child in node.items():
            if key != "_target_":  # the class that the block becomes
                yield from _leaves(child, f"{prefix}.{key}" if prefix else key)
    else:
        yield prefix, node


def listed() -> list[tuple[str, str]]:
    """Key and what it is good for, of all that the list has."""
    entries = yaml.safe_load((Path(__file__).parent / "verl_options.yaml").read_text())
    return [
        (f"{block}.{leaf}", use)
        for entry in entries
        for use, names in entry.items()
        if use != "in"
        for block in entry["in"]
        for leaf in names
    ]


def test_each_leaf_is_listed_once(leaves):
    """A leaf that is new to verl, or gone, fails here: find out what reads it."""
    found = Counter(key for key, _ in listed())
    assert not leaves.keys() - found.keys(), "not listed"
    assert not found.keys() - leaves.keys(), "listed, but verl has none such"
    assert [key for key, count in found.items() if count > 1] == []


def test_what_reads_a_leaf_names_it():
    wrong = []
    for key, use in listed():
        if match := FILE.match(use):
            name = key.rpartition(".")[2]
            if any(part in use for part in OTHER_TRAINERS) or name not in names_in(
                *match.group("package", "path", "method")
            ):
                wrong.append(f"{key}: not in {use}")
    assert wrong == []


def test_our_trainers_reach_the_methods_that_read():
    """Ours do not override them, or call them."""
    from cppo_verl.trainer.v0.trainer import RayCPPOTrainer

    methods = {match["method"] for _, use in listed() if (match := FILE.match(use)) and match["method"]}
    assert methods
    for method in methods:
        for cls in RayCPPOTrainer.__mro__:
            if method in vars(cls) and cls.__module__.startswith("cppo_verl"):
                assert re.search(rf"\.{method}\(", inspect.getsource(vars(cls)[method])), f"{cls.__name__}.{method}"


def test_what_other_leaves_take_is_named_by_them(leaves):
    written = " ".join(str(value) for value in leaves.values() if "${" in str(value))
    taken = [key for key, use in listed() if use == "interpolated"]
    assert [
        key for key in taken if not re.search(rf"[{{:]({re.escape(key)}|\.{key.split('.')[-1]})[,}}]", written)
    ] == []


def test_what_is_listed_as_refused_is(leaves, config):
    """Each by itself would be; all at once, on either trainer, name each of them."""
    refused = [key for key, use in listed() if use == "refused"]
    said = ""
    for trainer in (V0, V1):
        changed = config(*trainer)
        OmegaConf.set_struct(changed, False)
        for key in refused:
            OmegaConf.update(changed, key, another(leaves[key]), force_add=True)
        said += "\n".join(refusals(changed))
    assert [key for key in refused if not re.search(rf"{re.escape(key)}\b", said)] == []


def another(value: object) -> object:
    """A value of the same kind that is not this one."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    return {list: ["changed"], dict: {"changed": 1}}.get(type(value), "changed")


def test_defaults_of_unread_options_are_verls(leaves, config):
    tables = [unread_options.ALWAYS, unread_options.ON_V0, unread_options.ON_V1, unread_options.OF_ONE_DEVICE]
    tables += [*unread_options.OF_FSDP.values(), unread_options.ON_FSDP1, unread_options.ON_FSDP2]
    tables += [unread_options.OF_SGLANG, _of_modes(config(*V0))]
    for key, option in {k: v for table in tables for k, v in table.items()}.items():
        follows = isinstance(leaves[key], str) and leaves[key].startswith("${")
        assert follows if option.default is FOLLOWS else follows or option.default == leaves[key], key
        if option.instead:
            assert OmegaConf.select(config(), option.instead, default=FOLLOWS) is not FOLLOWS, option.instead


@pytest.mark.parametrize("trainer", [V0, V1])
def test_a_config_that_changes_none_is_not_refused(trainer, config):
    assert list(unread_faults(config(*trainer))) == []
    assert all(key.count(".") for key in unread(config(*trainer)))


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("actor_rollout_ref.actor.grad_clip=0.5", "set actor_rollout_ref.actor.optim.clip_grad"),
        ("custom_reward_function.path=mine.py", "set reward.custom_reward_function.path"),
        ("reward_model.reward_manager=dapo", "set reward.reward_manager.name"),
        ("actor_rollout_ref.model.lora.rank=8", "set actor_rollout_ref.model.lora_rank"),
        ("data.truncation=left", "data.filter_overlong_prompts leaves long ones out"),
        ("actor_rollout_ref.rollout.do_sample=false", "actor_rollout_ref.rollout.temperature decides"),
        ("actor_rollout_ref.model.tiled_mlp.enabled=true", "leave it at False"),
        ("algorithm.use_pf_ppo=true", "it is for algorithm.adv_estimator=gae"),
        ("trainer.v1.trainer_mode=cppo_colocate_async", "trainer.use_v1=true, for verl's V1 trainers, is not set"),
        ("trainer.v1.sampler.max_off_policy_threshold=2", "outside V1's asynchronous modes"),
        ("trainer.v1.separate_async.parameter_sync_step=2", "trainer_mode=cppo_separate_async alone does"),
        ("actor_rollout_ref.rollout.multi_turn.enable=true", "the agent loop decides"),
    ],
)
def test_the_message_names_the_option_that_is_read(override, says, config):
    (message,) = unread_faults(config(override))
    assert message.startswith(override.partition("=")[0])
    assert "would be ignored" in message and says in message


@pytest.mark.parametrize(
    ("mode", "override", "is_read"),
    [
        ("sync", "trainer.v1.sampler.max_off_policy_strategy=wait", False),
        ("sync", "trainer.v1.colocate_async.num_warmup_batches=2", False),
        ("sync", "actor_rollout_ref.rollout.trace.backend=mlflow", False),
        ("colocate_async", "trainer.v1.separate_async.num_warmup_batches=2", False),
        ("colocate_async", "trainer.v1.colocate_async.num_warmup_batches=2", True),
        ("colocate_async", "trainer.v1.sampler.max_off_policy_strategy=wait", True),
        ("separate_async", "trainer.v1.colocate_async.num_warmup_batches=2", False),
        ("separate_async", "trainer.v1.separate_async.num_warmup_batches=2", True),
        ("separate_async", "trainer.v1.sampler.max_off_policy_threshold=2", True),
    ],
)
def test_options_of_another_mode_of_v1_are_refused(mode, override, is_read, config):
    made = config("trainer.use_v1=true", f"trainer.v1.trainer_mode=cppo_{mode}", override)
    assert [message.partition("=")[0] for message in unread_faults(made)] == (
        [] if is_read else [override.partition("=")[0]]
    )


def test_the_same_value_in_both_places_is_no_fault(config):
    assert (
        list(unread_faults(config("data.trust_remote_code=true", "actor_rollout_ref.model.trust_remote_code=true")))
        == []
    )
    assert list(unread_faults(config("actor_rollout_ref.rollout.n=8"))) == [], "actor.rollout_n takes its value from it"


@cache
def names_in(package: str, path: str, method: str | None) -> set[str]:
    """Attributes and texts that occur in a file, or in its functions of a name; of a dotted text its last part too."""
    tree = ast.parse((Path(find_spec(package).submodule_search_locations[0]) / path).read_text())
    parts = [tree]
    if method:
        parts = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == method]
    nodes = [node for part in parts for node in ast.walk(part)]
    texts = [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    attributes = {node.attr for node in nodes if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)}
    return attributes | set(texts) | {text.rpartition(".")[2] for text in texts}
