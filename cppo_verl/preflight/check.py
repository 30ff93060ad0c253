"""What can go wrong is found before Ray and the GPUs start, as much of it at once as can be, in words."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator
from functools import partial
from importlib.util import find_spec

from omegaconf import DictConfig
from omegaconf.errors import ConfigAttributeError, ConfigKeyError

from cppo_verl.algorithm.errors import ConfigError
from cppo_verl.algorithm.options import CPPOConfig
from cppo_verl.algorithm.step_plan import StepPlan
from cppo_verl.config.cluster import joins_cluster
from cppo_verl.hardware.drivers import why_no_gpu
from cppo_verl.preflight import columns, data, inputs, outputs, prompts, same_run
from cppo_verl.preflight.asynchronous import places_faults
from cppo_verl.preflight.attention import flash_faults, fused_faults
from cppo_verl.preflight.choices import word_faults
from cppo_verl.preflight.cpus import cpu_faults
from cppo_verl.preflight.critic import critic_batch_faults
from cppo_verl.preflight.loggers import logger_faults
from cppo_verl.preflight.plan import (
    cycle_from_config,
    engine_devices,
    is_separate,
    micro_batch_faults,
    plan_from_config,
)
from cppo_verl.preflight.refusals import refusals, resume_refusals
from cppo_verl.preflight.reward_trial import trial_faults
from cppo_verl.preflight.sequence_length import (
    DEVICES,
    ENGINE_DEVICES,
    head_faults,
    length_faults,
    position_faults,
)
from cppo_verl.preflight.unknown import unknown_faults
from cppo_verl.preflight.values import block_faults, value_faults
from cppo_verl.runs.identity import IDENTITY
from cppo_verl.weight_sync.transports import transport_fault

FREQUENCIES = "trainer.save_freq", "trainer.test_freq"
REWARD = tuple(f"reward.custom_reward_function.{option}" for option in ("path", "name"))
MODEL = (
    *(f"actor_rollout_ref.model.{option}" for option in ("path", "trust_remote_code", "tokenizer_path")),
    *(f"reward.reward_model.{option}" for option in ("enable", "model_path")),
)
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
RATES = "actor_rollout_ref.actor.optim.lr", "critic.optim.lr", "actor_rollout_ref.rollout.n"
"""Numbers that are compared where CPPO refuses a loss."""
PLACES = tuple(
    f"actor_rollout_ref.rollout.{option}"
    for option in ("n", "max_num_seqs", "agent.num_workers", "tensor_model_parallel_size")
)
"""Numbers by which a question's completions have a place at the engines."""
Faults = Iterable[str]


def check(config: DictConfig) -> StepPlan:
    """Check a run's config: first by itself and its files, then, where that finds nothing, with what takes seconds to
    import or to answer (torch, transformers, verl, a hub).

    Returns:
        The plan of its steps.

    Raises:
        ConfigError: Everything that was found wrong, a line each.
    """
    if faults := block_faults(config):
        raise ConfigError(*faults)
    wrong = value_faults(config)
    faults = [*wrong.values()]
    for what, (ask, *needs) in _quick_checks(wrong).items():
        if not any(key in wrong for key in needs):
            faults += _answers(what, ask, config)
    for checks in ({}, EPOCH, SLOW, ROOM):
        faults += [fault for what, ask in checks.items() for fault in _answers(what, ask, config)]
        if faults:
            raise ConfigError(*dict.fromkeys(faults))
    return plan_from_config(config)


def _quick_checks(wrong: Container[str]) -> dict[str, tuple]:
    """What needs neither torch nor transformers nor a hub: a function from config to faults, and the keys whose values
    it reckons with."""
    rows = {
        f"data.{split}_files": (partial(data.data_faults, split=split), f"data.{split}_files", "data.prompt_key")
        for split in data.SPLITS
    }
    return {
        "the words": (partial(word_faults, wrong=wrong),),
        "the names of the options": (unknown_faults,),
        "the options of cppo": (_cppo_faults,),
        "the rollout engine": (_engine_faults,),
        "cppo.save_best": (_best_faults, *FREQUENCIES),
        "the validation questions": (data.held_out_faults, "data.val_files"),
        "the lengths": (partial(length_faults, wrong=wrong),),
        "the plan of a step": (_plan_faults, *DEVICES, *PLANNED, SYNC),
        "what CPPO refuses": (refusals, "actor_rollout_ref.model.external_lib", *ENGINE_DEVICES, SYNC, *RATES),
        "the places at the engines": (places_faults, *DEVICES, *ENGINE_DEVICES, *PLACES),
        "what a resume needs": (resume_refusals, "trainer.save_freq", *CONTENTS),
        **rows,
        "the settings of prompts": (prompts.setting_faults, "data.train_files", "data.prompt_key"),
        "the model": (inputs.model_faults, *MODEL),
        "the reward function": (inputs.reward_faults, *REWARD),
        "trainer.resume_from_path": (outputs.resume_faults, "trainer.resume_from_path"),
        "the checkpoint to go on from": (
            outputs.foreign_faults,
            *("trainer.resume_from_path", "trainer.default_local_dir", "critic.enable"),
        ),
        "whose checkpoint it is": (same_run.changed_faults, "trainer.default_local_dir", *IDENTITY),
        "what an asynchronous run was sampling": (
            outputs.carried_faults,
            *("trainer.resume_from_path", "trainer.default_local_dir"),
        ),
        "the run folder": (outputs.folder_faults, "trainer.default_local_dir"),
        "the loggers": (logger_faults, "trainer.logger"),
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


def _cppo_faults(config: DictConfig) -> Faults:
    CPPOConfig.from_mapping(config.cppo)
    return ()


def _plan_faults(config: DictConfig) -> Faults:
    plan = cycle_from_config(config)
    return [*critic_batch_faults(config, plan), *micro_batch_faults(config, plan)]


def _device_faults(config: DictConfig) -> Iterator[str]:
    if (
        config.trainer.device != "cuda"
        or config.trainer.nnodes > 1
        or joins_cluster(config.ray_kwargs.ray_init)
        or config.dry_run
    ):
        return  # the GPUs are those of a cluster, or of another machine that a run is planned for
    import torch

    asked, there = config.trainer.n_gpus_per_node, torch.cuda.device_count()
    engines = engine_devices(config) if is_separate(config) else 0
    if there < asked + engines:
        also = f" and {engines} for the rollout engine (actor_rollout_ref.rollout.n_gpus_per_node)" if engines else ""
        yield f"trainer.n_gpus_per_node={asked}{also} but this machine has " + (
            f"{there} GPU(s); set trainer.n_gpus_per_node={there - engines}"
            if there > engines
            else f"too few GPUs that torch sees{why_no_gpu(torch)}; device=cpu runs the same stack without one"
        )


def _transport_faults(config: DictConfig) -> Iterator[str]:
    if not config.dry_run and (why := transport_fault(config)):
        yield why


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


EPOCH = {"the steps of an epoch": data.epoch_faults}
SLOW = {
    "the devices": _device_faults,
    "the CPUs": cpu_faults,
    "the attention": flash_faults,
    "the way of weights to the engines": _transport_faults,
    "the model": inputs.loaded_model_faults,
    "the columns of the data": columns.column_faults,
    "the prompts": prompts.prompt_faults,
    "the reward function on a few rows": trial_faults,
    "the positions of the model": position_faults,
    "the heads of the model": head_faults,
    "the embeddings of the model": fused_faults,
}
"""What imports torch, transformers or verl, asks a hub, or runs a reward function."""
ROOM = {"the room for checkpoints": outputs.room_faults}
"""Which lays the model out."""
