"""What a V0 step costs the driver: the CPU time of all that it does itself.

    python -m cppo_verl.bench.driver [--completions 2048] [--ranks 8] [--rates 0 0.75] [--repeat 5] [key=value ...]

The step is the trainer's, without a cluster: agent loops, engine and workers are stand-ins that send and are sent as
many bytes. CPU time is that of this process alone, on one thread, so that it hardly depends on what else the machine
does. Left out is what Ray does with the bytes, and the fetching of questions, which goes on while a step trains. A
step's other phases are measured by `cppo-verl bench`.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence

import torch
from omegaconf import DictConfig
from rich.table import Table

from cppo_verl.algorithm.errors import ConfigError
from cppo_verl.bench.alone import LoneStep
from cppo_verl.config.compose import compose
from cppo_verl.console import open_console

GROUP = 16
RATES = ("0", "0.5", "0.75", "0.875", "0.9375")


def settings(rate: str, completions: int, ranks: int, overrides: Sequence[str] = ()) -> DictConfig:
    """The config of a run whose step samples so many completions, trains on (1 - P) of them, and is one update."""
    questions = completions // GROUP
    return compose(
        [
            *("recipe=toy", "device=cpu", f"actor_rollout_ref.rollout.n={GROUP}"),
            *(f"data.train_batch_size={questions}", f"actor_rollout_ref.actor.ppo_mini_batch_size={questions}"),
            *(f"cppo.pruning_rate={rate}", "cppo.allocation=false"),
            *(f"trainer.n_gpus_per_node={ranks}", "trainer.balance_batch=true", "trainer.save_freq=-1"),
            *("data.max_prompt_length=512", "data.max_response_length=1024", "trainer.test_freq=-1"),
            *overrides,
        ]
    )


def stages(config: DictConfig, repeat: int) -> dict[str, float]:
    """CPU milliseconds of each stage of a run's steps, the median of so many after a first one."""
    step = LoneStep(config)
    step.times()
    found = [step.times() for _ in range(repeat)]
    return {stage: 1000 * statistics.median(times[stage] for times in found) for stage in found[0]}


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="options of the run")
    parser.add_argument("--completions", type=int, default=2048, help="sampled a step")
    parser.add_argument("--ranks", type=int, default=8)
    parser.add_argument("--rates", nargs="+", default=RATES, help="each P")
    parser.add_argument("--repeat", type=int, default=5)
    args = parser.parse_args(argv)
    if args.completions < GROUP or args.completions % GROUP:
        parser.error(f"--completions={args.completions} must be a multiple of {GROUP}, a group")
    torch.set_num_threads(1)
    try:
        configs = {rate: settings(rate, args.completions, args.ranks, args.overrides) for rate in args.rates}
        found = {rate: stages(config, args.repeat) for rate, config in configs.items()}
    except ConfigError as error:
        parser.error(str(error))
    open_console().print(shown(found, f"{args.completions:,} completions of {GROUP} a question, {args.ranks} ranks"))


def shown(found: dict[str, dict[str, float]], about: str) -> Table:
    """A row for each P: CPU milliseconds of each stage, and of all."""
    table = Table(title=f"{about}: CPU ms of a step")
    table.add_column("P")
    for name in [*next(iter(found.values())), "all"]:
        table.add_column(name, justify="right")
    for rate, times in found.items():
        table.add_row(rate, *(f"{ms:,.1f}" for ms in (*times.values(), sum(times.values()))))
    return table


if __name__ == "__main__":
    main()
