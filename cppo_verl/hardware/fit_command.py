"""Settings for the hardware you have: an estimate of the memory, printed as overrides for any recipe.

cppo-verl fit --model Qwen/Qwen2.5-7B-Instruct --gpus 8 --memory 80 [--prompt 512] [--response 1024]

The model is a folder, a hub id, or a shape that the benchmark knows (`qwen2.5-7b`), for which nothing is read.
"""

from __future__ import annotations

from rich.table import Table

from cppo_verl.algorithm.errors import ConfigError
from cppo_verl.config.attention import FLASH, SDPA
from cppo_verl.console import open_console
from cppo_verl.hardware.estimates import model_of, read_model
from cppo_verl.hardware.fitting import OFFLOADS, RESERVE, SLACK, Fit, Job, fit
from cppo_verl.hardware.memory import GIB, Model, engine_bytes, gib
from cppo_verl.hardware.shapes import GEOMETRIES, find_geometry
from cppo_verl.hardware.sync import Sync, bucket_megabytes, separate_sync

MOST = 10**6
"""Of GPUs, of GiB and of tokens; more is a slip."""


def show_fit(
    model: str, gpus: int, memory: float, gpus_per_node: int = 8, prompt: int = 512, response: int = 1024, **kind: bool
) -> None:
    """Print the settings that fit, and what they take.

    Args:
        model: A folder, a hub id, or a shape that the benchmark knows.
        gpus: All of them.
        memory: Of one GPU, GiB.
        gpus_per_node: At the most.
        prompt: Tokens of the longest prompt.
        response: Tokens of the longest completion.
        kind: `critic`: whether one of the same size is trained too. `flash`: whether flash-attn is installed there.

    Raises:
        ConfigError: Nothing fits, or the question is none.
    """
    try:
        found = fit(job_of(model, gpus, memory, gpus_per_node, prompt, response, **kind))
    except ValueError as error:
        raise error if isinstance(error, ConfigError) else ConfigError(str(error)) from error
    console = open_console()
    console.print(table(found))
    console.print(" ".join(overrides(found, prompt, response)), soft_wrap=True, highlight=False)


def job_of(
    model: str,
    gpus: int,
    memory: float,
    gpus_per_node: int,
    prompt: int,
    response: int,
    critic: bool = False,
    flash: bool = False,
) -> Job:
    """What was asked for.

    Raises:
        ConfigError: Everything that cannot be, a line each.
    """
    asked = {"gpus": gpus, "memory": memory, "gpus-per-node": gpus_per_node, "prompt": prompt, "response": response}
    faults = [
        f"--{name} {value} must be from 1 to {MOST:,}; the nearest is {1 if value < 1 else MOST}"
        for name, value in asked.items()
        if not 1 <= value <= MOST
    ]
    if not faults and gpus > gpus_per_node and gpus % gpus_per_node:
        nodes = gpus // gpus_per_node
        faults.append(
            f"--gpus {gpus} is no whole number of nodes of {gpus_per_node} (--gpus-per-node); the nearest "
            f"are {nodes * gpus_per_node} and {(nodes + 1) * gpus_per_node}"
        )
    if faults:
        raise ConfigError(*faults)
    return Job(find_model(model), gpus, int(memory * GIB), prompt + response, gpus_per_node, critic, flash)


def find_model(name: str) -> Model:
    """Sizes of a shape that the benchmark knows, or of a folder or hub id.

    Raises:
        ConfigError: There is no such model.
    """
    if (GEOMETRIES / f"{name}.yaml").is_file():
        from transformers import Qwen2Config

        return model_of(Qwen2Config(**find_geometry(name).shape))
    try:
        return read_model(name)
    except ConfigError:
        raise
    except ValueError as error:
        known = ", ".join(sorted(path.stem for path in GEOMETRIES.glob("*.yaml")))
        raise ConfigError(
            f"--model {name}: {error}; give a folder with a config.json, a hub id, or one of {known}"
        ) from error


def overrides(found: Fit, prompt: int, response: int) -> list[str]:
    """The settings as a script takes them."""
    job, actor = found.job, "actor_rollout_ref.actor"
    between, always = str(found.offload == OFFLOADS[1]).lower(), str(found.offload == OFFLOADS[2]).lower()
    budgets = [
        f"{actor}.ppo_max_token_len_per_gpu={found.tokens}",
        f"actor_rollout_ref.ref.log_prob_max_token_len_per_gpu={found.tokens}",
        f"actor_rollout_ref.rollout.log_prob_max_token_len_per_gpu={found.tokens}",
    ]
    trained = {f"{actor}.fsdp_config": True, "critic.fsdp": job.critic}
    offloads = [
        f"{block}.{option}={value}"
        for block, is_trained in trained.items()
        if is_trained
        for option, value in (("param_offload", between), ("optimizer_offload", between), ("offload_policy", always))
    ]
    return [
        f"trainer.nnodes={-(-job.devices // job.devices_per_node)}",
        f"trainer.n_gpus_per_node={job.per_node}",
        f"data.max_prompt_length={prompt}",
        f"data.max_response_length={response}",
        f"{actor}.use_dynamic_bsz=true",
        *([f"actor_rollout_ref.model.override_config.attn_implementation={FLASH}"] if job.flash else []),
        *budgets,
        *([f"critic.ppo_max_token_len_per_gpu={found.tokens}"] if job.critic else []),
        *offloads,
        f"actor_rollout_ref.rollout.tensor_model_parallel_size={found.tensor_shards}",
        f"actor_rollout_ref.rollout.gpu_memory_utilization={found.utilization / 100}",
        f"actor_rollout_ref.rollout.checkpoint_engine.update_weights_bucket_megabytes={bucket_megabytes(job.model)}",
    ]


def table(found: Fit) -> Table:
    """The settings and what they take, a row a fact."""
    job, update = found.job, found.update
    engine = engine_bytes(job.model, found.tensor_shards)
    parts = {name: size for name, size in vars(update).items() if name != "step"}
    share = int(job.memory * found.utilization / 100)
    rows = {
        "model": f"{job.model.parameters / 1e6:,.1f} million parameters" + ", and a critic as large" * job.critic,
        "devices": f"{job.devices} of {gib(job.memory)} GiB, of which {gib(job.usable)} are reckoned with "
        f"({SLACK:.0%} for fragmentation and {gib(RESERVE)} GiB for CUDA, NCCL and a sleeping engine: assumed)",
        "offload of weights and optimiser": found.offload,
        "attention": FLASH if job.flash else f"{SDPA}: no rows longer than the longest sequence; see --flash-attn",
        "token budget of a micro-batch": f"{found.tokens:,} (longest sequence: {job.longest:,})",
        "update, GiB a device": ", ".join(f"{name} {gib(size)}" for name, size in parts.items() if size)
        + f": at most {gib(update.total)} at a time",
        "rollout engine": f"over {found.tensor_shards} device(s), {found.utilization} % of each = {gib(share)} GiB: "
        f"weights and forward {gib(engine)}, cache {gib(share - engine)} GiB = {found.cache_tokens:,} tokens, "
        f"{found.cache_tokens // job.longest:,} of the longest sequences",
        "training, while completions are sampled": f"{gib(found.idle)} GiB a device",
        "weight sync, the cache freed, GiB a device": _in_words(found.sync),
        "the same, mode=separate_async": "; ".join(
            f"{kind}: {_in_words(sync)}"
            for kind, sync in zip(
                ("of training", "of the engine"),
                separate_sync(job.model, found.tensor_shards, found.idle),
                strict=True,
            )
        ),
    }
    if found.offload != OFFLOADS[0]:
        rows["offloaded"] = f"{gib(found.offloaded)} GiB of a node's own memory"
    shown = Table(show_header=False, title="what fits (estimated)")
    for name, value in rows.items():
        shown.add_row(name, value)
    return shown


def _in_words(sync: Sync) -> str:
    parts = ", ".join(f"{name} {gib(size)}" for name, size in vars(sync).items() if size)
    return f"{parts}: {gib(sync.total)}"
