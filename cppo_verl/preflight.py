"""What can go wrong is found before Ray and the GPUs start, all of it at once, in words."""

from __future__ import annotations

import os
from collections.abc import Callable, Container, Iterable, Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import pyarrow.parquet as pq
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError

from cppo_verl import on_disk
from cppo_verl.config import ConfigError, CPPOConfig
from cppo_verl.data.check import read_rows, remarks
from cppo_verl.lengths import (
    DEVICES,
    ENGINE_DEVICES,
    LENGTHS,
    SHARDS,
    TENSOR_SHARDS,
    head_faults,
    length_faults,
    position_faults,
)
from cppo_verl.limits import block_faults, value_faults
from cppo_verl.planning import StepPlan
from cppo_verl.trainer.critic_checks import critic_batch_faults
from cppo_verl.trainer.plan import (
    cycle_from_config,
    engine_devices,
    is_separate,
    micro_batch_faults,
    plan_from_config,
)
from cppo_verl.trainer.refusals import refusals, resume_refusals
from cppo_verl.words import word_faults

CONFIG_FILE = "config.yaml"
FREQUENCIES = "trainer.save_freq", "trainer.test_freq"
FILES = "data.train_files", "data.val_files"
MODEL = "actor_rollout_ref.model.path", "actor_rollout_ref.model.trust_remote_code"
TOKENIZER = "actor_rollout_ref.model.tokenizer_path"
REWARD = tuple(f"reward.custom_reward_function.{option}" for option in ("path", "name"))
REWARD_MODEL = tuple(f"reward.reward_model.{option}" for option in ("enable", "model_path"))
CONTENTS = tuple(f"actor_rollout_ref.actor.checkpoint.{option}" for option in ("save_contents", "load_contents"))
PLANNED = (
    *("actor_rollout_ref.rollout.n", "data.train_batch_size", "actor_rollout_ref.actor.ppo_mini_batch_size"),
    *("actor_rollout_ref.actor.ulysses_sequence_parallel_size", "actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu"),
    *(f"actor_rollout_ref.{part}.log_prob_micro_batch_size_per_gpu" for part in ("rollout", "ref")),
    *(f"critic.{size}" for size in ("ppo_mini_batch_size", "ppo_micro_batch_size_per_gpu", "use_dynamic_bsz")),
)
"""What a plan is made of, besides the devices."""
ROLLOUT_PACKAGES = {"vllm": "vllm", "sglang": "sglang", "trtllm": "tensorrt_llm"}
"""`actor_rollout_ref.rollout.name` to the package that it takes."""
TRAINING_PACKAGES = {"megatron": "megatron"}
"""`actor_rollout_ref.actor.strategy` to the package that it takes beside those that verl itself needs."""
SYNC = "trainer.v1.separate_async.parameter_sync_step"
Faults = Iterable[str]


def check(config: DictConfig) -> StepPlan:
    """Check a run's config.

    Returns:
        The plan of its steps.

    Raises:
        ConfigError: Everything that was found wrong, a line each.
    """
    if faults := block_faults(config):
        raise ConfigError(*faults)
    wrong = value_faults(config)
    faults = [*wrong.values()]
    for what, (ask, *needs) in _checks(wrong).items():
        if not any(key in wrong for key in needs):
            faults += _answers(what, ask, config)
    if not faults:
        faults += _answers("the steps of an epoch", _epoch_faults, config)
        faults += _answers("the room for checkpoints", lambda c: on_disk.room_faults(c, planned_steps(c)), config)
    if faults:
        raise ConfigError(*dict.fromkeys(faults))
    return plan_from_config(config)


def _checks(wrong: Container[str]) -> dict[str, tuple]:
    """What is checked: a function from config to faults, and the keys whose values it reckons with."""
    data = {
        f"data.{split}_files": (partial(on_disk.data_faults, split=split), f"data.{split}_files", "data.prompt_key")
        for split in on_disk.SPLITS
    }
    return {
        "the words": (partial(word_faults, wrong=wrong),),
        "the options of cppo": (_cppo_faults,),
        "the devices": (_device_faults, *DEVICES, *ENGINE_DEVICES),
        "the rollout engine": (_engine_faults,),
        "cppo.save_best": (_best_faults, *FREQUENCIES),
        "the validation questions": (on_disk.held_out_faults, "data.val_files"),
        "the prompts": (
            on_disk.prompt_faults,
            *("data.max_prompt_length", "data.prompt_key", "data.filter_overlong_prompts"),
            *(*FILES, *MODEL, TOKENIZER),
        ),
        "the lengths": (partial(length_faults, wrong=wrong),),
        "the positions of the model": (position_faults, *LENGTHS, *MODEL),
        "the heads of the model": (head_faults, SHARDS, TENSOR_SHARDS, *DEVICES, *ENGINE_DEVICES, *MODEL),
        "the plan of a step": (_plan_faults, *DEVICES, *PLANNED, SYNC),
        "what CPPO refuses": (refusals, "actor_rollout_ref.model.external_lib", *ENGINE_DEVICES, SYNC),
        "what a resume needs": (resume_refusals, "trainer.save_freq", *CONTENTS),
        **data,
        "the model": (on_disk.model_faults, *MODEL, TOKENIZER, *REWARD_MODEL),
        "the reward function": (on_disk.reward_faults, *REWARD),
        "trainer.resume_from_path": (on_disk.resume_faults, "trainer.resume_from_path"),
        "what an asynchronous run was sampling": (
            on_disk.carried_faults,
            *("trainer.resume_from_path", "trainer.default_local_dir"),
        ),
        "the run folder": (on_disk.folder_faults, "trainer.default_local_dir"),
    }


def _answers(what: str, ask: Callable[[DictConfig], Faults], config: DictConfig) -> list[str]:
    try:
        return list(ask(config))
    except ConfigError as error:
        return [*map(str, error.args)]
    except (ConfigAttributeError, ConfigKeyError) as error:
        return [f"{error.full_key} is missing: the config must hold every option of verl's and of the recipe"]
    except Exception as error:  # noqa: BLE001 - of a file or value that nobody thought of: better said than a traceback
        return [f"could not check {what}: {type(error).__name__}: {error}"]


def describe(config: DictConfig, plan: StepPlan) -> str:
    """One paragraph on what a step of this run does."""
    cppo, rows = CPPOConfig.from_mapping(config.cppo), num_train_rows(config)
    method = "PPO with a critic" if config.critic.enable else "GRPO"
    method = method if not cppo.rate else f"CPPO (P={cppo.pruning_rate}, prunes the {cppo.metric})"
    return (
        f"{method}: {plan.questions} questions x G={plan.rollout_n} = {plan.sampled} completions sampled a "
        f"step, k={plan.keep} a question kept, {plan.rows} trained in {plan.mini_batches} mini-batch(es) of "
        f"{plan.mini_batch_rows} over {plan.dp_size} rank(s); {plan.steps_per_epoch(rows)} steps an epoch of "
        f"{rows} questions. Run folder: {config.trainer.default_local_dir}"
    )


def save_config(config: DictConfig) -> None:
    """Write the resolved config into the run folder."""
    folder = Path(config.trainer.default_local_dir)
    folder.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(config, folder / CONFIG_FILE, resolve=True)


def num_train_rows(config: DictConfig) -> int:
    """Questions in the training data, as verl will take them."""
    rows = sum(pq.read_metadata(path).num_rows for path in on_disk.paths(config.data.train_files))
    limit = config.data.train_max_samples
    return rows if limit < 0 else min(rows, limit)


def planned_steps(config: DictConfig) -> int:
    """Training steps of a run, before any prompt is left out for its length."""
    of_data = plan_from_config(config).steps_per_epoch(num_train_rows(config)) * config.trainer.total_epochs
    return min(config.trainer.total_training_steps or of_data, of_data)


def remarks_on_data(config: DictConfig) -> list[str]:
    """What should be known of a run's data, which `check` has found no fault in."""
    data = config.data
    train, val = (
        [read_rows(path, data.prompt_key) for path in on_disk.paths(data[f"{split}_files"])] for split in on_disk.SPLITS
    )
    return list(remarks(train, val))


def _cppo_faults(config: DictConfig) -> Faults:
    CPPOConfig.from_mapping(config.cppo)
    return ()


def _plan_faults(config: DictConfig) -> Faults:
    plan = cycle_from_config(config)
    return [*critic_batch_faults(config, plan), *micro_batch_faults(config, plan)]


def _epoch_faults(config: DictConfig) -> Faults:
    plan_from_config(config).steps_per_epoch(num_train_rows(config))
    return ()


def _device_faults(config: DictConfig) -> Iterator[str]:
    if config.trainer.device != "cuda" or config.trainer.nnodes > 1 or "RAY_ADDRESS" in os.environ or config.dry_run:
        return  # the GPUs are those of a cluster, or of another machine that a run is planned for
    import torch

    asked, there = config.trainer.n_gpus_per_node, torch.cuda.device_count()
    engines = engine_devices(config) if is_separate(config) else 0
    if there < asked + engines:
        also = f" and {engines} for the rollout engine (actor_rollout_ref.rollout.n_gpus_per_node)" if engines else ""
        yield f"trainer.n_gpus_per_node={asked}{also} but this machine has " + (
            f"{there} GPU(s); set trainer.n_gpus_per_node={there - engines}"
            if there > engines
            else "too few GPUs that torch sees; device=cpu runs the same stack without one"
        )


def _engine_faults(config: DictConfig) -> Iterator[str]:
    name = config.actor_rollout_ref.rollout.name
    package = ROLLOUT_PACKAGES.get(name) if isinstance(name, str) else None
    if package and not config.dry_run and find_spec(package) is None:
        there = [name for name, package in ROLLOUT_PACKAGES.items() if find_spec(package)]
        yield (
            f"actor_rollout_ref.rollout.name={name}, but {package} is not installed; "
            f"{f'there is {there[0]}' if there else 'nor is another engine'}"
        )
    strategy = config.actor_rollout_ref.actor.strategy
    package = TRAINING_PACKAGES.get(strategy) if isinstance(strategy, str) else None
    if package and not config.dry_run and find_spec(package) is None:
        yield (
            f"actor_rollout_ref.actor.strategy={strategy}, but {package} is not installed (megatron-core and mbridge); "
            "fsdp2 is there"
        )


def _best_faults(config: DictConfig) -> Iterator[str]:
    save, test = config.trainer.save_freq, config.trainer.test_freq
    if config.cppo.get("save_best") and (save <= 0 or test <= 0 or test % save):
        nearest = save if save > 0 else max(test, 1)
        yield (
            f"cppo.save_best=true keeps a checkpoint of a validated step: trainer.save_freq={save} must divide "
            f"trainer.test_freq={test}; set both to {nearest}"
        )
