"""What can go wrong is found before Ray and the GPUs start, all of it at once, in words."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow.parquet as pq
from omegaconf import DictConfig, ListConfig, OmegaConf

from cppo_verl.config import ConfigError, CPPOConfig
from cppo_verl.planning import StepPlan

CONFIG_FILE = "config.yaml"


def check(config: DictConfig) -> StepPlan:
    """Check a run's config.

    Returns:
        The plan of its steps.

    Raises:
        ConfigError: Everything that was found wrong, a line each.
    """
    faults: list[str] = []
    plan = _caught(lambda: _plan(config), faults)
    faults += _caught(lambda: list(_refusals(config)), faults) or []
    faults += [*_data_faults(config), *_model_faults(config), *_device_faults(config), *_best_faults(config)]
    if plan and not faults:
        _caught(lambda: plan.steps_per_epoch(num_train_rows(config)), faults)
    if faults:
        raise ConfigError("\n       ".join(dict.fromkeys(faults)))
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


def _plan(config: DictConfig) -> StepPlan:
    from cppo_verl.trainer.checks import check_micro_batches, plan_from_config

    plan = plan_from_config(config)
    check_micro_batches(config, plan)
    return plan


def _refusals(config: DictConfig) -> list[str]:
    from cppo_verl.trainer.checks import refusals

    return refusals(config)


def _caught(question: Callable, faults: list[str]):
    try:
        return question()
    except ConfigError as error:
        faults.append(str(error))
        return None


def _paths(files: str | ListConfig) -> list[Path]:
    return [Path(path).expanduser() for path in ([files] if isinstance(files, str) else files)]


def _data_faults(config: DictConfig) -> Iterator[str]:
    for key in ("train_files", "val_files"):
        for path in _paths(config.data[key]):
            if not path.is_file():
                hold_out = " --validation 500" if path.name == "validation.parquet" else ""
                yield f"data.{key}: {path} is not there; {config.data_hint}{hold_out}"


def _model_faults(config: DictConfig) -> Iterator[str]:
    model = config.actor_rollout_ref.model
    if why := model_fault(model.path, trust_remote_code=model.trust_remote_code):
        yield f"actor_rollout_ref.model.path: {why}"


def model_fault(path: str, *, trust_remote_code: bool = False) -> str | None:
    """Why there is no model at a folder or hub id; None where there is one."""
    from transformers import AutoConfig

    local = Path(path).expanduser()
    try:
        AutoConfig.from_pretrained(local if local.is_dir() else path, trust_remote_code=trust_remote_code)
    except (OSError, ValueError) as error:
        why = str(error).splitlines()[0]
        return (
            f"no model at {path} ({why}); give a folder that holds a model, or a hub id that can be reached or was "
            "downloaded with: hf download ID"
        )
    return None


def _device_faults(config: DictConfig) -> Iterator[str]:
    if config.trainer.device != "cuda" or config.trainer.nnodes > 1 or "RAY_ADDRESS" in os.environ:
        return  # the GPUs are those of a cluster, not of this machine
    import torch

    asked, there = config.trainer.n_gpus_per_node, torch.cuda.device_count()
    if there < asked:
        yield (
            f"trainer.n_gpus_per_node={asked} but this machine has {there} GPU(s); set trainer.n_gpus_per_node={there}"
            if there
            else f"trainer.n_gpus_per_node={asked} but this machine has no GPU that torch sees; device=cpu "
            "runs the same stack without one"
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
