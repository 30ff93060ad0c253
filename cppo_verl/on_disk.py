"""What is wrong with the files that a run reads, and with where it writes."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Sequence
from functools import cache, partial
from pathlib import Path

import pyarrow
import pyarrow.parquet as pq
from omegaconf import DictConfig, OmegaConf

from cppo_verl.checkpoints import Checkpoints, fault, step_of
from cppo_verl.config import ConfigError
from cppo_verl.data.check import MissingFile, RowsError, overlong, read_rows
from cppo_verl.memory import GIB
from cppo_verl.model_check import code_fault, model_fault, tokenizer_fault, weights_fault
from cppo_verl.rewards.own import function_fault
from cppo_verl.sizes import bytes_of_checkpoints, checkpoint_bytes, checkpoints_at_most, read_model

SPLITS = "train", "val"


def paths(files: str | Sequence[str]) -> list[Path]:
    """Of `data.train_files` or `data.val_files`."""
    return [Path(path).expanduser() for path in ([files] if isinstance(files, str) else files)]


def data_faults(config: DictConfig, split: str) -> Iterator[str]:
    """Rows that a run cannot train or validate on."""
    key = f"{split}_files"
    for path in paths(config.data[key]):
        try:
            read_rows(path, config.data.prompt_key)
        except MissingFile as error:
            hold_out = " --validation 500" if path.name == "validation.parquet" else ""
            yield f"data.{key}: {error}; {config.data_hint}{hold_out}"
        except RowsError as error:
            yield f"data.{key}: {error}"


def prompt_faults(config: DictConfig) -> Iterator[str]:
    """Prompts that are too long, where they are not to be left out."""
    model = config.actor_rollout_ref.model
    named, reads = model.tokenizer_path or model.path, {"trust_remote_code": model.trust_remote_code}
    if config.data.filter_overlong_prompts or code_fault(named, **reads) or model_fault(model.path, **reads):
        return

    @cache
    def tokenizer():
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(Path(named).expanduser(), **reads)

    def tokenize(messages: list[dict[str, str]]) -> list[int]:
        return tokenizer().apply_chat_template(messages, add_generation_prompt=True, return_dict=False)

    for path in (path for split in SPLITS for path in paths(config.data[f"{split}_files"])):
        try:
            why = overlong(read_rows(path, config.data.prompt_key), config.data.max_prompt_length, tokenize)
        except (OSError, ValueError):  # no such file, or no chat template: said elsewhere, or verl's to say
            continue
        if why:
            yield why


def held_out_faults(config: DictConfig) -> Iterator[str]:
    """Test questions that the best checkpoint would be chosen on."""
    for path in filter(Path.is_file, paths(config.data.val_files) if config.cppo.get("save_best") else []):
        try:
            rows = pq.read_table(path, columns=["extra_info"]).column("extra_info").to_pylist()
        except (pyarrow.ArrowException, OSError, KeyError):  # unreadable is said elsewhere; without it none says "test"
            continue
        if any(isinstance(row, dict) and row.get("split") == "test" for row in rows):
            yield (
                f"cppo.save_best=true would choose the checkpoint on test questions: data.val_files={path} holds "
                "some; prepare the data with --validation 500 and validate on validation.parquet (mode=save_best)"
            )


def model_faults(config: DictConfig) -> Iterator[str]:
    """Models that are not there or not whole, or bring code that nobody looked at."""
    model = config.actor_rollout_ref.model
    code = partial(code_fault, trust_remote_code=model.trust_remote_code)
    there = partial(model_fault, trust_remote_code=model.trust_remote_code)
    weights, tokenizer = ([], []) if config.dry_run else ([weights_fault], [tokenizer_fault])
    asked = {"actor_rollout_ref.model.path": [code, there, *weights, *([] if model.tokenizer_path else tokenizer)]}
    if config.critic.enable and config.critic.model.path != model.path:
        asked["critic.model.path"] = [code, there, *weights]
    if model.tokenizer_path:
        asked["actor_rollout_ref.model.tokenizer_path"] = [code, *tokenizer]
    if config.reward.reward_model.enable:
        asked["reward.reward_model.model_path"] = [code, there, *weights, *tokenizer]
    for key, questions in asked.items():
        path = OmegaConf.select(config, key)
        if path is None:
            yield f"{key}=null, but reward.reward_model.enable=true needs a model"
        elif why := next(filter(None, (ask(path) for ask in questions)), None):
            yield f"{key}: {why}"


def reward_faults(config: DictConfig) -> Iterator[str]:
    """No reward function where one of the user's own is asked for."""
    given = config.reward.custom_reward_function
    if given.path and (why := function_fault(given.path, given.name or "compute_score")):
        yield f"reward.custom_reward_function: {why}"


def resume_faults(config: DictConfig) -> Iterator[str]:
    """No whole checkpoint where a run is told to go on from one."""
    trainer, given = config.trainer, config.trainer.resume_from_path
    if trainer.resume_mode != "resume_path":
        return
    folder = Path(given or "")
    if not re.search(r"(^|/)global_step_[0-9]+$", given or ""):  # verl takes the step from the end of it
        yield f"trainer.resume_from_path={given} is no checkpoint; give the path of a global_step_N, no / at its end"
    elif not folder.is_dir():
        yield f"trainer.resume_from_path={folder} is not there; trainer.resume_mode=auto takes the run's latest"
    elif why := fault(folder, tracked=step_of(folder)):
        yield f"trainer.resume_from_path={folder} is not complete ({why}); trainer.resume_mode=auto takes the last one"


def carried_faults(config: DictConfig) -> Iterator[str]:
    """A checkpoint with questions that an asynchronous trainer was sampling, where another would leave them out."""
    trainer = config.trainer
    if trainer.resume_mode == "disable" or (trainer.use_v1 and trainer.v1.trainer_mode != "cppo_sync"):
        return
    if trainer.resume_mode == "resume_path":
        last = Path(trainer.resume_from_path or "")
    else:
        last = Checkpoints(trainer.default_local_dir).last_complete()
    if last and (last / "transfer_queue").is_dir():
        yield (
            f"{last} is of an asynchronous trainer (trainer.v1.trainer_mode) and holds questions that were being "
            "sampled, which this trainer would leave out; go on with that one, or give another "
            "trainer.default_local_dir"
        )


def folder_faults(config: DictConfig) -> Iterator[str]:
    """A run folder that cannot be made."""
    there = _nearest_there(Path(config.trainer.default_local_dir))
    if not there.is_dir():
        yield f"trainer.default_local_dir={config.trainer.default_local_dir}: {there} is a file; give another folder"


def room_faults(config: DictConfig, steps: int) -> Iterator[str]:
    """Too little room for the checkpoints of so many steps."""
    if config.trainer.save_freq <= 0 or config.dry_run:
        return
    model, folder = config.actor_rollout_ref.model, Path(config.trainer.default_local_dir)
    try:
        each = checkpoint_bytes(config, read_model(model.path, trust_remote_code=model.trust_remote_code))
    except ConfigError:
        raise
    except ValueError:  # a model of a kind that transformers cannot lay out without its weights
        return
    there, at_most = _nearest_there(folder), checkpoints_at_most(config, steps)
    needed, free = at_most * each - bytes_of_checkpoints(folder), shutil.disk_usage(there).free
    if free < needed:
        keep = config.trainer.max_actor_ckpt_to_keep
        yield (
            f"a checkpoint of this run takes about {each / GIB:.1f} GiB, and with trainer.max_actor_ckpt_to_keep="
            f"{keep} there are up to {at_most} at a time (an old one goes once the new one is complete): "
            f"{needed / GIB:.1f} GiB more, and {there} has {free / GIB:.1f} GiB free; make room, keep fewer, give "
            "another trainer.default_local_dir, or save none: trainer.save_freq=-1"
        )


def _nearest_there(folder: Path) -> Path:
    """The folder, or the nearest above it that is there."""
    folder = folder.absolute()
    return next(path for path in (folder, *folder.parents) if path.exists())
