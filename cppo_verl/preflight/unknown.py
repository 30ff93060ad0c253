"""Options that neither verl nor CPPO has: misspelt ones, which Hydra takes from a YAML file, or after a `+`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from cppo_verl.config.sources import TRAINER, verl_configs

OWN = "own"
"""A block of options that only code of the user's own reads."""
TYPE = "_target_"
"""Names the class that a block becomes."""
FREE = frozenset(
    {
        *(OWN, "cppo", "hydra", "rollout_correction"),  # the second and the last are checked by themselves
        *("ray_init", "runtime_env", "env_vars", "transfer_queue"),  # Ray's and the queue's
        *("engine_kwargs", "override_config", "override_optimizer_config", "override_transformer_config"),
        *("override_ddp_config", "override_mcore_model_config", "wrap_policy", "mixed_precision"),
        *("apply_chat_template_kwargs", "mm_processor_kwargs", "reward_kwargs", "sampler_kwargs", "custom"),
        *("controller_nsight_options", "worker_nsight_options", "kw_args", "rl_insight", "teacher_models"),
    }
)
"""Blocks whose options verl hands on as they are, or has by names of the user's choice."""
OF_CLASSES = frozenset(
    {
        *("agent_loop_manager_class", "checkpoint_manager_class", "chunked_topk_chunk_size", "custom", "dtype"),
        *("enable_sleep_mode", "entropy_from_logits_chunk_size", "expert_tensor_parallel_size", "full_determinism"),
        *("gdpo_reward_keys", "gdpo_reward_weights", "grad_clip", "infer_max_token_len_per_gpu", "name", "profile"),
        *("infer_micro_batch_size_per_gpu", "layer_name_map", "load_tokenizer", "loss_settings", "strategy"),
        *("max_token_len_per_gpu", "micro_batch_size_per_gpu", "mixed_precision", "model_type", "offload_policy"),
        *("moe_tensor_parallel_size", "ppo_infer_max_token_len_per_gpu", "ppo_infer_micro_batch_size_per_gpu"),
        *("record_file", "repetition_penalty", "replay_file", "rollout_correction", "router_replay", "server"),
        *("save_lora_only", "sglang_engine_mode", "standalone_gpu_memory_utilization", "target_parameters"),
        *("use_chunked_topk", "use_dynamic_bsz", "use_fused_kernels", "use_layer_wise_param_layout"),
        *("use_remove_padding", "use_rollout_log_probs"),
    }
)
"""Options that classes of verl 0.9.1 have and its YAML files leave out; a class refuses what it has not."""
FURTHER = {
    "data": ("cache_dir", "chat_template_func", "filter_prompts", "need_tools_kwargs", "sampler", "datagen"),
    "reward": (*("reward_kwargs", "timeout", "max_concurrent", "max_rpm", "max_tpm", "estimated_tokens_per_request"),),
    "reward.custom_reward_function": ("reward_kwargs",),
    "reward_model": ("reward_kwargs",),
    "trainer": ("remove_previous_ckpt_in_save", "wandb_proxy", "rl_insight"),
}
"""Block to options that verl 0.9.1 reads with a default in the code, which its YAML files leave out."""
OF_OWN_CODE = {
    "data": ("data.custom_cls.path", "data.sampler.class_path", "data.datagen.path"),
    "reward": ("reward.reward_manager.module.path",),
}
"""Block that a class of the user's own is given whole, to what names such a class."""


def unknown_faults(config: DictConfig) -> Iterator[str]:
    """Every option that the config has and that verl's own config and CPPO's have not."""
    if (known := known_options(str(config.get("model_engine", "dp")))) is None:
        return
    for key, nearest in _unknown(OmegaConf.to_container(config), known, config):
        instead = f"did you mean {nearest}?" if nearest else f"what only code of your own reads goes under {OWN}"
        yield f"unknown option {key}; {instead}"


def known_options(engine: str) -> dict[str, Any] | None:
    """verl's and CPPO's options as nested blocks, without composing them; None where verl ships none for an engine."""
    name = "" if engine == "dp" else f"{engine}_"
    of_verl = verl_configs() / f"_generated_ppo_{name}trainer.yaml"
    if not of_verl.is_file():
        return None
    known: dict[str, Any] = {OWN: {}, "model_engine": engine}
    for path in (of_verl, TRAINER / "cppo_trainer.yaml", *sorted((TRAINER / "device").glob("*.yaml"))):
        _add(known, yaml.load(path.read_text(), getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
    known.pop("defaults")
    _share(known)
    for block, names in FURTHER.items():
        _add(_at(known, block), dict.fromkeys(names))
    return known


def _unknown(
    node: Mapping[str, Any], known: Mapping[str, Any], config: DictConfig, block: str = ""
) -> Iterator[tuple[str, str | None]]:
    """Key and the nearest known one, of each that is unknown; of a whole block the block's."""
    if block in OF_OWN_CODE and any(OmegaConf.select(config, key) for key in OF_OWN_CODE[block]):
        return
    for name, value in node.items():
        key = f"{block}.{name}" if block else str(name)
        if name not in known:
            yield key, _nearest(name, known, f"{block}." if block else "")
        elif name not in FREE and _are_of_one_kind(value, known[name]):
            yield from _unknown(value, known[name], config, key)


def _are_of_one_kind(block: object, known: object) -> bool:
    """Whether both are blocks with options of their own; one that is another class's has that check them."""
    are_blocks = isinstance(block, dict) and isinstance(known, dict) and bool(known)
    return are_blocks and block.get(TYPE) == known.get(TYPE)


def _nearest(name: str, known: Mapping[str, Any], prefix: str) -> str | None:
    """The option that may have been meant: beside it, or in a block that is there."""
    if alike := get_close_matches(name, [other for other in known if other not in (TYPE, OWN)], n=1):
        return prefix + alike[0]
    blocks = ((other, child) for other, child in known.items() if isinstance(child, dict))
    return next((found for other, child in blocks if (found := _nearest(name, child, f"{prefix}{other}."))), None)


def _add(known: dict[str, Any], more: Mapping[str, Any]) -> None:
    for name, value in more.items():
        if isinstance(value, dict) and isinstance(known.get(name), dict):
            _add(known[name], value)
        else:
            known.setdefault(name, value)


def _share(known: dict[str, Any]) -> None:
    """Blocks that become objects of one class have the same options, and those that no file names."""
    typed: dict[str, list[dict[str, Any]]] = {}

    def collect(node: dict[str, Any]) -> None:
        if TYPE in node:
            typed.setdefault(node[TYPE], []).append(node)
        for child in node.values():
            if isinstance(child, dict):
                collect(child)

    collect(known)
    for blocks in typed.values():
        names = {name for block in blocks for name in block} | OF_CLASSES
        for block in blocks:
            block.update(dict.fromkeys(names - block.keys()))


def _at(known: dict[str, Any], block: str) -> dict[str, Any]:
    for name in block.split("."):
        known = known[name]
    return known
