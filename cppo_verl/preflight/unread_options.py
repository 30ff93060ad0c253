"""Options of verl 0.9.1's config that nothing in a run reads: of every run, of an engine, of a trainer.

What each leaf of verl's config is good for is listed in `tests/preflight/verl_options.yaml`; a leaf that is new to verl
fails the test beside it, and belongs there or here.
"""

from __future__ import annotations

from dataclasses import dataclass

ACTOR, REF, ROLLOUT, MODEL = (f"actor_rollout_ref.{part}" for part in ("actor", "ref", "rollout", "model"))
ENGINES = (f"{ACTOR}.fsdp_config", f"{REF}.fsdp_config", "critic.fsdp")
"""Where FSDP's options are."""


FOLLOWS = object()
"""As a default: the value of the option that is read in its place."""


@dataclass(frozen=True)
class Unread:
    """An option that nothing reads."""

    default: object
    """verl's."""
    instead: str | None = None
    """The option that is read in its place, whose value it may have too."""
    because: str = ""
    """What decides in its place, or why nothing does."""


def _within(block: str, options: dict[str, Unread]) -> dict[str, Unread]:
    return {f"{block}.{name}": option for name, option in options.items()}


def _lora(model: str) -> dict[str, Unread]:
    """Of `lora`, which is Megatron's but for `merge`; FSDP's options of it stand beside that block."""
    images = ("freeze_vision_model", "freeze_vision_projection", "freeze_language_model")
    options = {
        "rank": Unread(0, f"{model}.lora_rank"),
        "alpha": Unread(32, f"{model}.lora_alpha"),
        "target_modules": Unread(["linear_qkv", "linear_proj", "linear_fc1", "linear_fc2"], f"{model}.target_modules"),
        "exclude_modules": Unread([], f"{model}.exclude_modules"),
        "adapter_path": Unread(None, f"{model}.lora_adapter_path"),
        "type": Unread("lora"),
        "dropout": Unread(0.0),
        "dropout_position": Unread("pre"),
        "lora_A_init_method": Unread("xavier"),
        "lora_B_init_method": Unread("zero"),
        "a2a_experimental": Unread(False),
        "dtype": Unread(None),
        **dict.fromkeys(images, Unread(True)),
    }
    return _within(f"{model}.lora", options)


def _of_fsdp(part: str, model: str) -> dict[str, Unread]:
    """Of the actor or the critic, what FSDP's engine does not read of what its config has."""
    mtp = {"enable_train": Unread(False), "detach_encoder": Unread(False), "mtp_loss_scaling_factor": Unread(0.1)}
    return {
        f"{part}.grad_clip": Unread(1.0, f"{part}.optim.clip_grad"),
        **_lora(model),
        **_within(f"{model}.mtp", mtp),
        **_within(f"{model}.tiled_mlp", {"enabled": Unread(False), "num_shards": Unread(4)}),
    }


_STEPS = "the trainer sets it, to trainer.total_training_steps"
_QAT = {
    "enable": False,
    "mode": "w4a16",
    "group_size": 16,
    "ignore_patterns": ["lm_head", "embed_tokens", "re:.*mlp.gate$"],
    "activation_observer": "static_minmax",
    "quantization_config_path": None,
}

ALWAYS = {
    "actor_rollout_ref.nccl_timeout": Unread(600),
    "data.tokenizer": Unread(None, f"{MODEL}.tokenizer_path"),
    "data.trust_remote_code": Unread(False, f"{MODEL}.trust_remote_code"),
    "data.return_raw_input_ids": Unread(False),
    "data.return_raw_chat": Unread(True),
    "data.return_full_prompt": Unread(False),
    "data.return_multi_modal_inputs": Unread(True),
    "data.truncation": Unread("error", because="no prompt is cut; data.filter_overlong_prompts leaves long ones out"),
    "data.reward_fn_key": Unread("data_source", because="the reward workers read the column data_source"),
    f"{ACTOR}.calculate_sum_pi_squared": Unread(False, because="it is for advantages that CPPO refuses"),
    f"{ACTOR}.freeze_vision_tower": Unread(False),
    f"{ACTOR}.ppo_micro_batch_size": Unread(None, f"{ACTOR}.ppo_micro_batch_size_per_gpu"),
    f"{ACTOR}.use_prefix_grouper": Unread(False),
    f"{ACTOR}.optim.total_training_steps": Unread(-1, because=_STEPS),
    f"{REF}.log_prob_micro_batch_size": Unread(None, f"{REF}.log_prob_micro_batch_size_per_gpu"),
    f"{ROLLOUT}.log_prob_micro_batch_size": Unread(None, f"{ROLLOUT}.log_prob_micro_batch_size_per_gpu"),
    f"{ROLLOUT}.agent.custom_async_server.path": Unread(None),
    f"{ROLLOUT}.agent.custom_async_server.name": Unread(None),
    f"{ROLLOUT}.do_sample": Unread(True, because=f"{ROLLOUT}.temperature decides"),
    f"{ROLLOUT}.over_sample_rate": Unread(0),
    f"{ROLLOUT}.multi_stage_wake_up": Unread(False),
    f"{ROLLOUT}.skip_tokenizer_init": Unread(True),
    f"{ROLLOUT}.multi_turn.enable": Unread(False, because="the agent loop decides (agent.default_agent_loop)"),
    f"{ROLLOUT}.multi_turn.num_repeat_rollouts": Unread(None, because=f"{ROLLOUT}.n decides"),
    f"{ROLLOUT}.multi_turn.use_inference_chat_template": Unread(False),
    f"{ROLLOUT}.multi_turn.tokenization_sanity_check_mode": Unread("strict"),
    "critic.optim.total_training_steps": Unread(-1, because=_STEPS),
    "critic.forward_micro_batch_size": Unread(None, "critic.forward_micro_batch_size_per_gpu"),
    "global_profiler.global_tool_config.torch_memory.kw_args": Unread({}),
    "skip.async_rollout.enable": Unread(False, because="it is of another of verl's trainers"),
    **{f"{part}.rollout_n": Unread(FOLLOWS, f"{ROLLOUT}.n") for part in (ACTOR, REF, "critic")},
    **{
        f"{profiler}.precision_debugger.steps": Unread(None, "global_profiler.steps")
        for profiler in (
            *(f"{part}.profiler.tool_config" for part in (ACTOR, REF, ROLLOUT, "critic")),
            "global_profiler.global_tool_config",
        )
    },
}
"""Whatever the trainer and the engines."""
ON_V0 = {
    "trainer.v1.trainer_mode": Unread("cppo_sync", because="trainer.use_v1=true, for verl's V1 trainers, is not set"),
    "trainer.checkpoint_callback_class": Unread(None),
    f"{ROLLOUT}.moe_load_balance_metrics_interval": Unread(0),
    "transfer_queue.enable": Unread(False),
    "skip.rollout_tq.enable": Unread(False, "skip.rollout.enable"),
}
"""Read by verl's V1 trainers alone."""
ON_V1 = {
    "trainer.esi_redundant_time": Unread(0),
    "trainer.ray_wait_register_center_timeout": Unread(300),
    "skip.rollout.enable": Unread(False, because="it replays a batch per step, and V1 asks question by question"),
    **_within(
        f"{ROLLOUT}.trace",
        {"backend": Unread(None), "token2text": Unread(False), "max_samples_per_step_per_worker": Unread(None)},
    ),
}
"""Read by verl's V0 trainer alone."""
IN_MODE = {
    "separate_async": {"parameter_sync_step": 4, "num_warmup_batches": 1},
    "colocate_async": {"num_warmup_batches": 1},
}
"""Options under `trainer.v1.MODE`, and verl's defaults, that V1's trainer of that mode alone reads."""
ASYNCHRONOUS = _within(
    "trainer.v1.sampler",
    {
        name: Unread(default, because="outside V1's asynchronous modes no completion is of older weights")
        for name, default in {"max_off_policy_threshold": 8, "max_off_policy_strategy": "drop"}.items()
    },
)
"""Read in V1's asynchronous modes alone."""
OF_ONE_DEVICE = {
    f"{ROLLOUT}.nnodes": Unread(
        0, because="engines have devices of their own in trainer_mode=cppo_separate_async alone"
    )
}
"""Where engine and trainer share their devices."""
OF_FSDP = {
    "actor": {
        **_of_fsdp(ACTOR, MODEL),
        f"{ACTOR}.checkpoint.strict": Unread(True),
        f"{ACTOR}.use_fused_kernels": Unread(FOLLOWS, f"{MODEL}.use_fused_kernels"),
        f"{ACTOR}.use_remove_padding": Unread(FOLLOWS, f"{MODEL}.use_remove_padding"),
        f"{ACTOR}.use_torch_compile": Unread(True, f"{ACTOR}.fsdp_config.use_torch_compile"),
        f"{REF}.use_torch_compile": Unread(True, f"{REF}.fsdp_config.use_torch_compile"),
        f"{ACTOR}.fsdp_config.strategy": Unread("fsdp", f"{ACTOR}.strategy"),
        f"{REF}.fsdp_config.strategy": Unread("fsdp", f"{REF}.strategy"),
        **{
            f"{block}.{name}": Unread(value, f"{ACTOR}.fsdp_config.qat.{name}")
            for block in (f"{ACTOR}.qat", f"{REF}.fsdp_config.qat")
            for name, value in _QAT.items()
        },
    },
    "critic": {
        **_of_fsdp("critic", "critic.model"),
        "critic.fsdp.strategy": Unread("fsdp", "critic.strategy"),
        "critic.checkpoint.async_save": Unread(False),
        "critic.model.lora.merge": Unread(False),
        **_within(
            "critic.model.mtp",
            {"enable_rollout": Unread(False), "method": Unread("mtp"), "num_speculative_tokens": Unread(1)},
        ),
    },
}
"""Where the engine of that part is one of FSDP's."""
ON_FSDP2 = {
    **{f"{engine}.wrap_policy.min_num_params": Unread(0, because="fsdp2 wraps by layer") for engine in ENGINES},
    **{f"{engine}.use_orig_params": Unread(False, because="fsdp2 always does") for engine in ENGINES},
}
"""Read for `strategy=fsdp` alone."""
ON_FSDP1 = {f"{engine}.offload_policy": Unread(False, f"{engine}.param_offload") for engine in ENGINES}
"""Read for `strategy=fsdp2` alone."""
OF_SGLANG = {
    f"{model}.mtp.{name}": option
    for model in (MODEL, "critic.model")
    for name, option in {
        "speculative_algorithm": Unread("EAGLE", f"{MODEL}.mtp.method"),
        "speculative_num_steps": Unread(3),
        "speculative_eagle_topk": Unread(1),
        "speculative_num_draft_tokens": Unread(4, f"{MODEL}.mtp.num_speculative_tokens"),
    }.items()
} | {f"{ROLLOUT}.disaggregation.{name}": Unread(None) for name in ("bootstrap_port", "ib_device")}
"""Read by SGLang's engine alone."""
