"""The runs of a benchmark: GRPO, and CPPO at each pruning rate, with and without allocation, in turn."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import torch

from cppo_verl.algorithm.errors import ConfigError
from cppo_verl.algorithm.options import as_written
from cppo_verl.bench.inputs import build_model, write_questions
from cppo_verl.hardware.shapes import Geometry
from cppo_verl.studies.study import Run, Study, plan_runs

HERE = Path(__file__).parent
VERLS_OWN, GRPO = "verl's GRPO", "GRPO"
OWN = {
    "cppo.pruning_rate": "give --rates",
    "cppo.allocation": "each P is run with and without it",
    "trainer.total_training_steps": "give --steps",
    "data.seed": "give --rounds",
}
"""Options that the arms set, and what sets them."""
QUESTIONS = 128
"""At the least."""
RATES = ("0.5", "0.75", "0.875", "0.9375")
"""The published ones (paper Table 1)."""


def default_geometry() -> str:
    """The one that suits this machine."""
    return "qwen2.5-1.5b" if torch.cuda.is_available() else "small"


def arms(rates: Sequence[str], short: bool = False) -> dict[str, list[str]]:
    """Name of an arm to its overrides: verl's own GRPO, ours, then each P by pruning only and with allocation.

    Args:
        rates: Each P as it is written.
        short: Of these only our GRPO, and each P with allocation.
    """
    grpo = ["cppo.pruning_rate=0", "cppo.allocation=false"]
    found = {GRPO: grpo} if short else {VERLS_OWN: [*grpo, "+own.verls_own=true"], GRPO: grpo}
    for rate in rates:
        pruned = f"cppo.pruning_rate={rate}"
        if not short:
            found[f"P={rate}, pruning only"] = [pruned, "cppo.allocation=false"]
        found[f"P={rate}"] = [pruned, "cppo.allocation=true"]
    return found


def plan_bench(
    geometry: Geometry,
    rates: Sequence[str],
    rounds: int,
    steps: int,
    overrides: Sequence[str],
    out: Path,
    short: bool = False,
) -> list[Run]:
    """Write what the runs read, and plan them: all arms, then all arms again, `rounds` times.

    Args:
        geometry: The model.
        rates: Each P as it is written.
        rounds: Runs an arm.
        steps: Steps a run, the first of which is not measured.
        overrides: Further options of every run; without a device among them it is a GPU where there is one.
        out: Folder of the benchmark.
        short: As `arms` takes it.

    Raises:
        ConfigError: A rate or an override cannot be.
    """
    for key, instead in OWN.items():
        if any(override.lstrip("+").startswith(f"{key}=") for override in overrides):
            raise ConfigError(f"{key} is set by the benchmark: {instead}")
    questions, inputs = out / "inputs/questions.parquet", out / "inputs/model"
    common = [
        *geometry.overrides,
        *(f"data.train_files={questions}", f"data.val_files={questions}", "data.val_max_samples=1"),
        *(f"actor_rollout_ref.model.path={inputs}", "data.return_raw_chat=true"),
        "actor_rollout_ref.rollout.agent.default_agent_loop=forced_length",
        f"actor_rollout_ref.rollout.agent.agent_loop_config_path={HERE}/agent_loop.yaml",
        *("reward.custom_reward_function.path=pkg://cppo_verl.bench.forced", "data.filter_overlong_prompts=false"),
        *("trainer.val_before_train=false", "trainer.test_freq=-1", "trainer.save_freq=-1"),
        f"trainer.total_training_steps={steps}",
        "trainer.logger=[file]",
        "cppo.rollout_seed=null",  # verl's own requests have none either
        f"device={'gpu' if torch.cuda.is_available() else 'cpu'}",
        *overrides,
    ]
    study = Study("bench", geometry.about, arms(rates, short))
    runs = plan_runs(study, range(1, rounds + 1), common, out / "runs")
    if runs[0].config.trainer.use_v1:
        raise ConfigError(
            "the benchmark is of verl's V0 trainer: leave out trainer.use_v1=true; "
            "`cppo-verl study trainers` compares the generations"
        )
    batch = runs[0].config.data.train_batch_size
    most = max((as_written(rate) for rate in rates), default=Fraction(0))
    build_model(inputs, geometry.shape, geometry.dtype)
    write_questions(questions, max(int(steps * batch / (1 - most)), QUESTIONS), geometry.prompt_tokens, inputs)
    return runs
