"""What is wrong with a config for supervised fine-tuning, found before the ranks start, all of it at once."""

from __future__ import annotations

from collections.abc import Iterator

from omegaconf import DictConfig

from cppo_verl.algorithm.errors import ConfigError
from cppo_verl.hardware.drivers import why_no_gpu
from cppo_verl.hardware.model_files import code_fault, model_fault, tokenizer_fault, weights_fault
from cppo_verl.hardware.trainable import architecture_fault
from cppo_verl.preflight.attention import attention_in_words, flash_fault, fused_fault, remark_on_rows
from cppo_verl.preflight.loggers import faults_of
from cppo_verl.preflight.losses import rate_faults
from cppo_verl.preflight.same_run import changed_faults
from cppo_verl.runs.identity import SFT_IDENTITY
from cppo_verl.sft.demonstrations import length_faults, num_rows, row_faults
from cppo_verl.sft.going_on import goes_on_from, resume_faults

ATTENTION = "attn_implementation"


def check(config: DictConfig) -> None:
    """Check a config.

    Raises:
        ConfigError: Everything that was found wrong, a line each.
    """
    faults = [*_size_faults(config), *_frequency_faults(config), *resume_faults(config)]
    faults += changed_faults(config, SFT_IDENTITY) if goes_on_from(config) == "auto" else ()
    faults += [*_device_faults(config), *_model_faults(config), *faults_of(config.trainer.logger)]
    faults += rate_faults(config, "optim")
    for split in ("train", "val"):
        faults += row_faults(config, split)
    if not faults:
        faults += [*_step_faults(config), *length_faults(config)]
    if faults:
        raise ConfigError(*faults)


def describe(config: DictConfig) -> str:
    """What the run does, in a line."""
    rows, batch, epochs = num_rows(config, "train"), config.data.train_batch_size, config.trainer.total_epochs
    steps = config.trainer.total_training_steps or rows // batch * epochs
    attention = f"Attention: {attention_in_words(config)}. " if config.trainer.device == "cuda" else ""
    return (
        f"SFT: {rows:,} demonstrations, {batch} a step over {config.trainer.n_gpus_per_node} rank(s); {steps:,} steps. "
        f"{attention}Run folder: {config.trainer.default_local_dir}"
    )


def remarks(config: DictConfig) -> Iterator[str]:
    """What works and costs more than it has to."""
    data = config.data
    if config.trainer.device == "cuda" and data.use_dynamic_bsz:
        yield from remark_on_rows(config, data.max_length, {"data.max_token_len_per_gpu": data.max_token_len_per_gpu})


def _size_faults(config: DictConfig) -> Iterator[str]:
    batch, ranks = config.data.train_batch_size, config.trainer.n_gpus_per_node
    if batch % ranks:
        yield (
            f"data.train_batch_size={batch} does not split over the {ranks} ranks (trainer.n_gpus_per_node); nearest "
            f"that works: {max(batch // ranks, 1) * ranks}"
        )
    if config.trainer.nnodes != 1:
        yield f"trainer.nnodes={config.trainer.nnodes}: this entry point starts the ranks of one machine; set it to 1"
    shards, attention = config.engine.ulysses_sequence_parallel_size, config.model.override_config.get(ATTENTION)
    if shards > 1 and not (attention or "flash_attention_2").startswith("flash_attention"):
        yield (
            f"engine.ulysses_sequence_parallel_size={shards} with {ATTENTION}={attention}: each shard would attend to "
            "its own tokens alone, without an error; set it to 1"
        )
    room, longest = config.data.max_token_len_per_gpu, config.data.max_length
    if config.data.use_dynamic_bsz and room < longest:
        yield f"data.max_token_len_per_gpu={room} is less than data.max_length={longest}; set it to {longest} or more"


def _step_faults(config: DictConfig) -> Iterator[str]:
    """What verl 0.9.1 ends with no checkpoint for: steps that its data do not give, a validation of nothing."""
    trainer, batch = config.trainer, config.data.train_batch_size
    asked, there = trainer.total_training_steps, num_rows(config, "train") // batch * trainer.total_epochs
    if asked and asked > there:
        yield (
            f"trainer.total_training_steps={asked} but {trainer.total_epochs} epoch(s) are {there} steps; set it to "
            f"{there} or less, or raise trainer.total_epochs"
        )
    if not config.data.val_files and trainer.test_freq != -1:
        yield f"trainer.test_freq={trainer.test_freq} without data.val_files; set it to -1, or give the files"


def _frequency_faults(config: DictConfig) -> Iterator[str]:
    """Steps to divide by: verl's SFT trainer takes the remainder by it at every step."""
    for key in ("save_freq", "test_freq"):
        if config.trainer[key] == 0:
            yield f"trainer.{key}=0; set it to -1 for never, to a number of steps, or to after_each_epoch"


def _device_faults(config: DictConfig) -> Iterator[str]:
    if config.trainer.device != "cuda":
        return
    import torch

    yield from flash_fault(config)
    asked, there = config.trainer.n_gpus_per_node, torch.cuda.device_count()
    if there < asked:
        yield f"trainer.n_gpus_per_node={asked} but torch sees {there} GPU(s){why_no_gpu(torch)}; " + (
            f"set trainer.n_gpus_per_node={there}" if there else "device=cpu runs without one"
        )


def _model_faults(config: DictConfig) -> Iterator[str]:
    path, trusted = config.model.path, {"trust_remote_code": config.model.trust_remote_code}
    asked = (
        lambda: code_fault(path, **trusted),
        lambda: model_fault(path, **trusted),
        lambda: weights_fault(path),
        lambda: architecture_fault(path, **trusted),
        lambda: tokenizer_fault(path),
    )
    if why := next(filter(None, (ask() for ask in asked)), None):
        yield f"model.path: {why}"
    else:
        yield from fused_fault(config, config.engine.strategy)
