"""Settings for the hardware you have: an estimate of the memory, printed as overrides for any recipe.

python -m cppo_verl.fit_hardware --model Qwen/Qwen2.5-7B-Instruct --gpus 8 --memory 80 [--prompt 512] [--response 1024]

The model is a folder, a hub id, or a shape that the benchmark knows (`qwen2.5-7b`), for which nothing is read.
"""

from __future__ import annotations

import argparse
import sys

from rich.table import Table

from cppo_verl.bench.study import GEOMETRIES, find_geometry
from cppo_verl.config import ConfigError
from cppo_verl.console import open_console
from cppo_verl.fitting import OFFLOADS, RESERVE, SLACK, Fit, Job, fit
from cppo_verl.memory import GIB, Model, engine_bytes
from cppo_verl.sizes import model_of, read_model

MOST = 10**6
"""Of GPUs, of GiB and of tokens; more is a slip."""


def main(argv: list[str] | None = None) -> int:
    """Returns the exit code: 2 where nothing fits, or the question is none."""
    args = _parse_args(argv)
    try:
        found = fit(job_of(args))
    except (ConfigError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    console = open_console()
    console.print(table(found))
    console.print(" ".join(overrides(found, args.prompt, args.response)), soft_wrap=True, highlight=False)
    return 0


def job_of(args: argparse.Namespace) -> Job:
    """What was asked for.

    Raises:
        ConfigError: Everything that cannot be, a line each.
    """
    asked = {"gpus": args.gpus, "memory": args.memory, "gpus-per-node": args.gpus_per_node}
    asked |= {"prompt": args.prompt, "response": args.response}
    faults = [
        f"--{name} {value} must be from 1 to {MOST:,}; the nearest is {1 if value < 1 else MOST}"
        for name, value in asked.items()
        if not 1 <= value <= MOST
    ]
    if not faults and args.gpus > args.gpus_per_node and args.gpus % args.gpus_per_node:
        nodes = args.gpus // args.gpus_per_node
        faults.append(
            f"--gpus {args.gpus} is no whole number of nodes of {args.gpus_per_node} (--gpus-per-node); the nearest "
            f"are {nodes * args.gpus_per_node} and {(nodes + 1) * args.gpus_per_node}"
        )
    if faults:
        raise ConfigError(*faults)
    longest, memory = args.prompt + args.response, int(args.memory * GIB)
    return Job(find_model(args.model), args.gpus, memory, longest, args.gpus_per_node, args.critic)


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
        *budgets,
        *([f"critic.ppo_max_token_len_per_gpu={found.tokens}"] if job.critic else []),
        *offloads,
        f"actor_rollout_ref.rollout.tensor_model_parallel_size={found.tensor_shards}",
        f"actor_rollout_ref.rollout.gpu_memory_utilization={found.utilization / 100}",
    ]


def table(found: Fit) -> Table:
    """The settings and what they take, a row a fact."""
    job, update = found.job, found.update
    engine = engine_bytes(job.model, found.tensor_shards)
    parts = {name: size for name, size in vars(update).items() if name != "step"}
    share = int(job.memory * found.utilization / 100)
    rows = {
        "model": f"{job.model.parameters / 1e6:,.1f} million parameters" + ", and a critic as large" * job.critic,
        "devices": f"{job.devices} of {_gib(job.memory)} GiB, of which {_gib(job.usable)} are reckoned with "
        f"({SLACK:.0%} for fragmentation and {_gib(RESERVE)} GiB for CUDA, NCCL and a sleeping engine: assumed)",
        "offload of weights and optimiser": found.offload,
        "token budget of a micro-batch": f"{found.tokens:,} (longest sequence: {job.longest:,})",
        "update, GiB a device": ", ".join(f"{name} {_gib(size)}" for name, size in parts.items() if size)
        + f": at most {_gib(update.total)} at a time",
        "rollout engine": f"over {found.tensor_shards} device(s), {found.utilization} % of each = {_gib(share)} GiB: "
        f"weights and forward {_gib(engine)}, cache {_gib(share - engine)} GiB = {found.cache_tokens:,} tokens, "
        f"{found.cache_tokens // job.longest:,} of the longest sequences",
        "training, while completions are sampled": f"{_gib(found.idle)} GiB a device",
    }
    if found.offload != OFFLOADS[0]:
        rows["offloaded"] = f"{_gib(found.offloaded)} GiB of a node's own memory"
    shown = Table(show_header=False, title="what fits (estimated)")
    for name, value in rows.items():
        shown.add_row(name, value)
    return shown


def _gib(size: int) -> str:
    return f"{size / GIB:.1f}"


def _parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m cppo_verl.fit_hardware",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", required=True, help="folder, hub id, or a shape of the benchmark")
    parser.add_argument("--gpus", type=int, required=True, help="all of them")
    parser.add_argument("--memory", type=float, required=True, metavar="GIB", help="of one GPU")
    parser.add_argument("--gpus-per-node", type=int, default=8)
    parser.add_argument("--prompt", type=int, default=512, metavar="TOKENS", help="of the longest prompt")
    parser.add_argument("--response", type=int, default=1024, metavar="TOKENS", help="of the longest completion")
    parser.add_argument("--critic", action="store_true", help="PPO: a critic of the same size is trained too")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
