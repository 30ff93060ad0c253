"""`cppo-verl plan`: what a run would do and about how much memory it would take, without starting it."""

from __future__ import annotations

from omegaconf import DictConfig
from rich.table import Table

from cppo_verl.algorithm.errors import ConfigError
from cppo_verl.algorithm.options import CPPOConfig
from cppo_verl.algorithm.step_plan import StepPlan
from cppo_verl.console import open_console
from cppo_verl.hardware.estimates import checkpoint_bytes, checkpoints_at_most, estimate_memory, read_model
from cppo_verl.hardware.memory import Model, gib
from cppo_verl.preflight.attention import attention_in_words
from cppo_verl.preflight.data import num_train_rows, planned_steps
from cppo_verl.preflight.plan import engine_devices, plan_from_config, queue_bytes, scaled_learning_rate


def show_plan(config: DictConfig) -> None:
    """Print what a checked config plans.

    Raises:
        ConfigError: transformers cannot lay the model out.
    """
    model = config.actor_rollout_ref.model
    try:
        sizes = read_model(model.path, trust_remote_code=model.trust_remote_code)
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(f"actor_rollout_ref.model.path: transformers cannot lay out {model.path}: {error}") from error
    open_console().print(plan_table(config, plan_from_config(config), sizes))


def plan_table(config: DictConfig, plan: StepPlan, model: Model) -> Table:
    """The plan and the estimate, a row a fact."""
    cppo, data, rollout = CPPOConfig.from_mapping(config.cppo), config.data, config.actor_rollout_ref.rollout
    longest, memory = data.max_prompt_length + data.max_response_length, estimate_memory(config, model)
    steps, ppo_epochs = planned_steps(config), config.actor_rollout_ref.actor.ppo_epochs
    rows = {
        "P, G, k": f"{cppo.pruning_rate}, {plan.rollout_n}, {plan.keep}",
        "questions": f"{num_train_rows(config):,}, {plan.questions} a step",
        "completions a step": f"{plan.sampled:,} sampled, {plan.rows:,} trained",
        "sampling": _sampling(config, plan),
        "mini-batches a step": f"{plan.mini_batches} of {plan.mini_batch_rows} completions, "
        f"{ppo_epochs} time(s) each, over {plan.dp_size} rank(s)",
        "an update": f"{plan.mini_batch_rows:,} completions, of {float(plan.questions_per_update):g} questions",
        "steps": f"{steps:,} ({config.trainer.total_epochs} epoch(s))",
        "updates": f"{steps * plan.mini_batches * ppo_epochs:,}, "
        f"{plan.updates_per_epoch(num_train_rows(config), ppo_epochs):,} an epoch",
        "learning rate": _learning_rate(config),
        "tokens at the most": f"{plan.sampled * data.max_response_length:,} sampled a step, "
        f"{plan.rows * longest:,} through each forward",
        "checkpoints": _checkpoints(config, steps, model),
        "model": f"{model.parameters / 1e6:,.1f} million parameters",
        "memory of an update, a device": " + ".join(
            f"{name} {gib(size)}" for name, size in vars(memory).items() if size
        )
        + f", not all at a time: about {gib(memory.total)} GiB, the rollout engine asleep",
        "run folder": config.trainer.default_local_dir,
    }
    if config.trainer.device == "cuda":
        rows["attention"] = attention_in_words(config.actor_rollout_ref)
        weights = 2 * model.parameters // rollout.tensor_model_parallel_size
        share = f"{rollout.gpu_memory_utilization:.0%} of a GPU's memory"
        rows["memory of the rollout"] = f"{share}, of which {gib(weights)} GiB weights (bfloat16)"
    table = Table(show_header=False, title="plan: nothing was started")
    for name, value in rows.items():
        table.add_row(name, value)
    return table


def _sampling(config: DictConfig, plan: StepPlan) -> str:
    """In how many waves an engine samples its share of a step."""
    rollout = config.actor_rollout_ref.rollout
    engines = max(engine_devices(config) // rollout.tensor_model_parallel_size, 1)
    share, places = -(-plan.sampled // engines), rollout.max_num_seqs
    at_once = "all at a time" if share <= places else f"{places:,} at a time (actor_rollout_ref.rollout.max_num_seqs)"
    return f"{share:,} completions an engine, {at_once}"


def _learning_rate(config: DictConfig) -> str:
    given, factor = config.actor_rollout_ref.actor.optim.lr, CPPOConfig.from_mapping(config.cppo).lr_factor
    return f"{given:g}" if factor == 1 else f"{scaled_learning_rate(config):g} ({given:g} times {factor:g})"


def _checkpoints(config: DictConfig, steps: int, model: Model) -> str:
    at_most = checkpoints_at_most(config, steps)
    if not at_most:
        return "none (trainer.save_freq=-1)"
    disk = gib(at_most * (checkpoint_bytes(config, model) + queue_bytes(config)))
    return f"every {config.trainer.save_freq} steps, {at_most} at a time at the most: about {disk} GiB of disk"
