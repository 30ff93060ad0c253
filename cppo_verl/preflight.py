"""What can go wrong is found before Ray and the GPUs start, all of it at once, in words."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pyarrow.parquet as pq
from omegaconf import DictConfig, ListConfig, OmegaConf

from cppo_verl.checkpoints import fault, step_of
from cppo_verl.config import ConfigError, CPPOConfig
from cppo_verl.data.check import MissingFile, RowsError, overlong, read_rows, remarks
from cppo_verl.limits import length_faults, number_faults, word_faults
from cppo_verl.model_check import model_fault, num_positions, tokenizer_fault, weights_fault
from cppo_verl.planning import StepPlan
from cppo_verl.rewards.own import function_fault
from cppo_verl.sizes import GIB, checkpoint_bytes, read_model
from cppo_verl.trainer.checks import check_micro_batches, plan_from_config, refusals

CONFIG_FILE = "config.yaml"
SPLITS = "train", "val"
DEVICES = "trainer.n_gpus_per_node", "trainer.nnodes"
LENGTHS = "data.max_prompt_length", "data.max_response_length"
PLANNED = (
    *("actor_rollout_ref.rollout.n", "data.train_batch_size", "actor_rollout_ref.actor.ppo_mini_batch_size"),
    *("actor_rollout_ref.actor.ulysses_sequence_parallel_size", "actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu"),
    *(f"actor_rollout_ref.{part}.log_prob_micro_batch_size_per_gpu" for part in ("rollout", "ref")),
)
"""Numbers that a plan is made of."""


def check(config: DictConfig) -> StepPlan:
    """Check a run's config.

    Returns:
        The plan of its steps.

    Raises:
        ConfigError: Everything that was found wrong, a line each.
    """
    numbers, plan = number_faults(config), None
    faults = [*numbers.values(), *word_faults(config)]

    def right(*keys: str) -> bool:
        """Whether a check may reckon with these numbers."""
        return not any(key in numbers for key in keys)

    _caught(lambda: CPPOConfig.from_mapping(config.cppo), faults)
    if right(*DEVICES):
        faults += _device_faults(config)
    if right("trainer.save_freq", "trainer.test_freq"):
        faults += _best_faults(config)
    if right("data.max_prompt_length"):
        faults += _prompt_faults(config)
    if not numbers:
        faults += length_faults(config)
    if right(*LENGTHS):
        faults += _position_faults(config)
    if right(*DEVICES, *PLANNED):
        plan = _caught(lambda: _plan(config), faults)
    faults += [*refusals(config), *_data_faults(config), *_model_faults(config), *_reward_faults(config)]
    faults += _resume_faults(config)
    if plan and not faults:
        _caught(lambda: plan.steps_per_epoch(num_train_rows(config)), faults)
        faults += _disk_faults(config)
    if faults:
        raise ConfigError(*dict.fromkeys(faults))
    return plan


def describe(config: DictConfig, plan: StepPlan) -> str:
    """One paragraph on what a step of this run does."""
    cppo, rows = CPPOConfig.from_mapping(config.cppo), num_train_rows(config)
    method = "GRPO" if not cppo.rate else f"CPPO (P={cppo.pruning_rate}, prunes the {cppo.metric})"
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
    rows = sum(pq.read_metadata(path).num_rows for path in _paths(config.data.train_files))
    limit = config.data.train_max_samples
    return rows if limit < 0 else min(rows, limit)


def planned_steps(config: DictConfig) -> int:
    """Training steps of a run, before any prompt is left out for its length."""
    of_data = plan_from_config(config).steps_per_epoch(num_train_rows(config)) * config.trainer.total_epochs
    return min(config.trainer.total_training_steps or of_data, of_data)


def _plan(config: DictConfig) -> StepPlan:
    plan = plan_from_config(config)
    check_micro_batches(config, plan)
    return plan


def _caught(question: Callable, faults: list[str]):
    try:
        return question()
    except ConfigError as error:
        faults.extend(map(str, error.args))
        return None


def _paths(files: str | ListConfig) -> list[Path]:
    return [Path(path).expanduser() for path in ([files] if isinstance(files, str) else files)]


def _data_faults(config: DictConfig) -> Iterator[str]:
    for key in (f"{split}_files" for split in SPLITS):
        for path in _paths(config.data[key]):
            try:
                read_rows(path, config.data.prompt_key)
            except MissingFile as error:
                hold_out = " --validation 500" if path.name == "validation.parquet" else ""
                yield f"data.{key}: {error}; {config.data_hint}{hold_out}"
            except RowsError as error:
                yield f"data.{key}: {error}"


def _prompt_faults(config: DictConfig) -> Iterator[str]:
    if config.data.filter_overlong_prompts:
        return

    @cache
    def tokenizer():
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(Path(config.actor_rollout_ref.model.path).expanduser())

    def tokenize(messages: list[dict[str, str]]) -> list[int]:
        return tokenizer().apply_chat_template(messages, add_generation_prompt=True, return_dict=False)

    for path in (path for split in SPLITS for path in _paths(config.data[f"{split}_files"])):
        try:
            why = overlong(read_rows(path, config.data.prompt_key), config.data.max_prompt_length, tokenize)
        except (OSError, ValueError):  # no such file, model or chat template: said elsewhere, or verl's to say
            continue
        if why:
            yield why


def remarks_on_data(config: DictConfig) -> list[str]:
    """What should be known of a run's data, which `check` has found no fault in."""
    data = config.data
    train, val = ([read_rows(path, data.prompt_key) for path in _paths(data[f"{split}_files"])] for split in SPLITS)
    return list(remarks(train, val))


def _model_faults(config: DictConfig) -> Iterator[str]:
    model = config.actor_rollout_ref.model
    given = {"path": model.path, "trust_remote_code": model.trust_remote_code}
    why = model_fault(**given) or tokenizer_fault(**given) or (None if config.dry_run else weights_fault(model.path))
    if why:
        yield f"actor_rollout_ref.model.path: {why}"


def _position_faults(config: DictConfig) -> Iterator[str]:
    model, prompt = config.actor_rollout_ref.model, config.data.max_prompt_length
    longest = prompt + config.data.max_response_length
    positions = num_positions(model.path, trust_remote_code=model.trust_remote_code)
    if positions and longest > positions:
        yield (
            f"data.max_prompt_length + data.max_response_length = {longest} is more than the {positions} positions of "
            f"the model; the nearest that works: data.max_response_length={positions - prompt}"
        )


def _reward_faults(config: DictConfig) -> Iterator[str]:
    given = config.reward.custom_reward_function
    if given.path and (why := function_fault(given.path, given.name)):
        yield f"reward.custom_reward_function: {why}"


def _device_faults(config: DictConfig) -> Iterator[str]:
    if config.trainer.device != "cuda" or config.trainer.nnodes > 1 or "RAY_ADDRESS" in os.environ or config.dry_run:
        return  # the GPUs are those of a cluster, or of another machine that a run is planned for
    import torch

    asked, there = config.trainer.n_gpus_per_node, torch.cuda.device_count()
    if there < asked:
        yield (
            f"trainer.n_gpus_per_node={asked} but this machine has {there} GPU(s); set trainer.n_gpus_per_node={there}"
            if there
            else f"trainer.n_gpus_per_node={asked} but this machine has no GPU that torch sees; device=cpu "
            "runs the same stack without one"
        )


def _disk_faults(config: DictConfig) -> Iterator[str]:
    if config.trainer.save_freq <= 0 or config.dry_run:
        return
    model, folder = config.actor_rollout_ref.model, Path(config.trainer.default_local_dir)
    there = next(path for path in (folder, *folder.parents) if path.is_dir())
    try:
        needed = checkpoint_bytes(config, read_model(model.path, trust_remote_code=model.trust_remote_code))
    except ValueError:  # a model of a kind that transformers cannot lay out without its weights
        return
    if (free := shutil.disk_usage(there).free) < needed:
        yield (
            f"a checkpoint of this run takes about {needed / GIB:.1f} GiB, and {there} has {free / GIB:.1f} GiB free; "
            "make room, give another trainer.default_local_dir, or save none: trainer.save_freq=-1"
        )


def _best_faults(config: DictConfig) -> Iterator[str]:
    if not config.cppo.get("save_best"):
        return
    save, test = config.trainer.save_freq, config.trainer.test_freq
    if save <= 0 or test <= 0 or test % save:
        nearest = save if save > 0 else max(test, 1)
        yield (
            f"cppo.save_best=true keeps a checkpoint of a validated step: trainer.save_freq={save} must divide "
            f"trainer.test_freq={test}; set both to {nearest}"
        )
    for path in filter(Path.is_file, _paths(config.data.val_files)):
        rows = pq.read_table(path, columns=["extra_info"]).column("extra_info").to_pylist()
        if any(row.get("split") == "test" for row in rows):
            yield (
                f"cppo.save_best=true would choose the checkpoint on test questions: data.val_files={path} holds "
                "some; prepare the data with --validation 500 and validate on validation.parquet (mode=save_best)"
            )


def _resume_faults(config: DictConfig) -> Iterator[str]:
    trainer = config.trainer
    if trainer.resume_mode != "resume_path":
        return
    folder = Path(trainer.resume_from_path or "")
    if not folder.name.removeprefix("global_step_").isdigit():
        yield f"trainer.resume_from_path={trainer.resume_from_path} is no checkpoint; give the path of a global_step_N"
    elif not folder.is_dir():
        yield f"trainer.resume_from_path={folder} is not there; trainer.resume_mode=auto takes the run's latest"
    elif why := fault(folder, tracked=step_of(folder)):
        yield f"trainer.resume_from_path={folder} is not complete ({why}); trainer.resume_mode=auto takes the last one"
