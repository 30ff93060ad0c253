"""recipe/grpo_plus: the composed configs against the published settings, and what its scripts start."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from verl.trainer.ppo.utils import need_reference_policy

from cppo_verl.evaluation import benchmarks
from cppo_verl.preflight.plan import plan_from_config
from cppo_verl.preflight.refusals import refusals

BASELINE, PLUS = "recipe=grpo_plus_baseline", "recipe=grpo_plus"
CHANGES = {
    "actor_rollout_ref.actor.clip_ratio_high": (0.2, 0.28),
    "actor_rollout_ref.actor.use_kl_loss": (True, False),
    "actor_rollout_ref.actor.optim.min_lr_ratio": (0.1, 0.8),
}
"""The three changes of GRPO+: what the baseline has, and what it is changed to."""


def script(repo: Path, name: str) -> list[str]:
    """The words of a script's one command, without the user's."""
    text = (repo / f"recipe/grpo_plus/{name}.sh").read_text()
    words = shlex.split(text[text.index("exec ") :].replace("\\\n", ""))
    assert words[:3] == ["exec", "scripts/python.sh", "-m"] and words[-1] == "$@"
    return words[3:-1]


def flat(config) -> dict[str, object]:
    """Values by their dotted keys."""

    def walk(node, prefix=""):
        for key, value in node.items():
            yield from walk(value, f"{prefix}{key}.") if isinstance(value, dict) else [(f"{prefix}{key}", value)]

    return dict(walk(OmegaConf.to_container(config)))


@pytest.mark.parametrize("recipe", [BASELINE, PLUS])
def test_published_settings(config, recipe):
    """Of both: model and lower clip; no KL in the reward, a cosine schedule."""
    c = config(recipe)
    actor = c.actor_rollout_ref.actor
    assert c.actor_rollout_ref.model.path == "Qwen/Qwen2.5-Math-1.5B"
    assert (actor.clip_ratio, actor.clip_ratio_low) == (0.2, 0.2)
    assert actor.optim.lr_scheduler_type == "cosine"
    assert c.algorithm.use_kl_in_reward is False
    assert c.algorithm.adv_estimator == "grpo"
    assert c.reward.custom_reward_function.path == "pkg://cppo_verl.rewards.math"


def test_the_three_changes_and_no_other(config):
    baseline, plus = flat(config(BASELINE)), flat(config(PLUS))
    assert baseline.keys() == plus.keys()
    assert {key: (baseline[key], plus[key]) for key in plus if baseline[key] != plus[key]} == CHANGES


def test_only_the_baseline_has_a_reference_model(config):
    assert (need_reference_policy(config(BASELINE)), need_reference_policy(config(PLUS))) == (True, False)


def test_a_step_reaches_the_clip_bounds(config):
    """A step of one update on its own completions has a ratio of 1 throughout."""
    plan = plan_from_config(config(BASELINE, "cppo.allocation=false"))
    assert plan.mini_batches > 1


@pytest.mark.parametrize("device", ["cpu", "gpu"])
@pytest.mark.parametrize(
    ("name", "recipe", "sizes"),
    [
        ("grpo_baseline", BASELINE, (8, 128, 1024)),
        ("grpo_plus", PLUS, (8, 128, 1024)),
        ("cppo_plus", PLUS, (4, 256, 1024)),
    ],
)
def test_scripts_compose_and_plan(config, repo, name, recipe, sizes, device):
    """What each keeps of a question, asks a step, and trains on."""
    module, command, *overrides = script(repo, name)
    assert (module, command) == ("cppo_verl", "train")
    assert overrides[0] == recipe
    composed = config(*overrides, f"device={device}")
    OmegaConf.resolve(composed)
    plan = plan_from_config(composed)
    assert (plan.keep, plan.questions, plan.rows) == sizes
    assert refusals(composed) == []
    assert composed.trainer.default_local_dir == f"outputs/grpo_plus/{name}"


def test_the_evaluation_is_of_the_four_benchmarks(repo):
    module, command, chosen, model = script(repo, "eval")
    assert (module, command) == ("cppo_verl", "evaluate")
    names = chosen.removeprefix("benchmarks=[").removesuffix("]").split(",")
    assert names == ["gsm8k", "math500", "amc23", "olympiadbench"]
    assert [benchmarks.find(name).name for name in names] == names
    assert model == "model=Qwen/Qwen2.5-Math-1.5B"


def test_the_warm_start_is_that_of_the_recipe(repo):
    assert script(repo, "sft") == ["cppo_verl", "sft", "sft=grpo_plus"]
