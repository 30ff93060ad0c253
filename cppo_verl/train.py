"""Train with CPPO (or GRPO, which is CPPO with `cppo.pruning_rate=0 cppo.allocation=false`): `cppo-verl train`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from cppo_verl.config.compose import run_with_config
from cppo_verl.preflight.prepare import prepare
from cppo_verl.runs.files import alone_in
from cppo_verl.runs.folder import save_config


def main(arguments: Sequence[str]) -> None:
    """Compose the config of a command line, check it, and train.

    Raises:
        SystemExit: The run was refused, or ended before its end.
    """
    run_with_config(run, arguments)


def run(config: DictConfig, runner_class: type | None = None) -> None:
    """Check a config, say what a step will do, and train.

    Args:
        config: As composed by Hydra.
        runner_class: Another task runner than `CPPOTaskRunner`, or than verl's for its V1 trainers.

    Raises:
        ConfigError: Something is wrong that can be known before Ray starts; the message lists all of it.
        InUse: Another run writes into its folder.
        SystemExit: The run ended before its end; the message says why, and where the next start goes on.
    """
    print(prepare(config), flush=True)
    if config.dry_run:
        from cppo_verl.preflight.plan_table import show_plan

        return show_plan(config)
    from cppo_verl.watch.screen import on_screen  # imports torch: after what does not need it

    with alone_in(Path(config.trainer.default_local_dir)):
        save_config(config)
        with on_screen(config) as waits_for:
            from cppo_verl.trainer.launch import launch  # imports Ray and verl, which print a lot

            launch(config, runner_class, waits_for)
    print(f"Finished. Run folder: {config.trainer.default_local_dir}", flush=True)
