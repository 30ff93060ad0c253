"""Random options are planned consistently or refused with a message, and nothing else.

`CPPO_FUZZ_CASES=10000 pytest tests/preflight/test_config_fuzz.py -s` draws that many and says how many were refused.
"""

from __future__ import annotations

import os
from collections import Counter
from fractions import Fraction

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from verl_rows import TINY, write_model, write_rows

from cppo_verl.algorithm.errors import ConfigError
from cppo_verl.algorithm.step_plan import StepPlan
from cppo_verl.preflight.check import check
from cppo_verl.preflight.choices import CHOICES
from cppo_verl.preflight.data import remarks_on_data
from cppo_verl.preflight.plan_table import plan_table
from cppo_verl.preflight.prepare import describe
from cppo_verl.preflight.values import KINDS, LIMITS

CASES = int(os.environ.get("CPPO_FUZZ_CASES", "150"))
QUESTIONS = 64

NUMBERS = [-1, 0, 1, 2, 3, 4, 7, 8, 16, -0.1, 0.1, 0.5, 1.0, 1.5, float("nan"), float("inf")]
LARGE = [10**4, 10**5, 10**9 - 1, 10**9, 10**9 + 1, 2**63, 10**400, -(10**400), 1e300, "1e99999999"]
ANY = st.sampled_from([*NUMBERS, *LARGE, "two", "", "0.5", None, True, False, [], [1], ["two", "two"], {"a": 1}])
SIZES = st.sampled_from([1, 2, 3, 4, 6, 8, 12, 16, 32])
LIKELY = {
    "cppo.pruning_rate": st.sampled_from([0, 0.25, 0.5, 0.75, 0.875, 0.9, 0.9375, "0.5", "1/3", 0.99]),
    "cppo.metric": st.sampled_from(["smallest", "largest", "random", "max_variance", "smalest"]),
    "cppo.scope": st.sampled_from(["question", "batch", "group"]),
    "cppo.allocation": st.booleans(),
    "cppo.zero_variance": st.sampled_from(["keep", "drop"]),
    "cppo.max_gen_rounds": st.integers(0, 4),
    "cppo.save_best": st.booleans(),
    "actor_rollout_ref.rollout.n": SIZES,
    "data.train_batch_size": SIZES,
    "actor_rollout_ref.actor.ppo_mini_batch_size": SIZES,
    "actor_rollout_ref.actor.use_dynamic_bsz": st.booleans(),
    "actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu": SIZES,
    "trainer.n_gpus_per_node": SIZES,
    "trainer.save_freq": st.sampled_from([-1, 1, 10, 50]),
    "data.max_response_length": st.sampled_from([16, 64, 20000]),
}
"""Keys to values of which many go together."""
OPTIONS = st.dictionaries(st.sampled_from(sorted(LIKELY)), st.none(), max_size=5).flatmap(
    lambda chosen: st.fixed_dictionaries({key: LIKELY[key] for key in chosen})
)
KEYS = sorted({*LIMITS, *KINDS, *CHOICES, *LIKELY, "cppo", "actor_rollout_ref.actor", "data"})
EDGES = st.lists(st.sampled_from(KEYS), unique=True, max_size=2).flatmap(
    lambda keys: st.fixed_dictionaries({key: ANY | st.sampled_from(CHOICES.get(key, (None,))) for key in keys})
)
"""One or two values of any kind, words that are known included."""


@pytest.fixture(scope="module")
def ready(compose_config, tmp_path_factory):
    """A config that can be planned: data, and a model without weights."""
    folder = tmp_path_factory.mktemp("fuzz")
    rows = write_rows(folder / "rows.parquet", [f"question {i}" for i in range(QUESTIONS)])
    write_model(folder)
    files = (f"data.train_files={rows}", f"data.val_files={rows}", f"actor_rollout_ref.model.path={folder}")
    config = compose_config("recipe=toy", "device=cpu", *files, "data.filter_overlong_prompts=true")
    OmegaConf.resolve(config)
    return config


def test_any_options_are_planned_or_refused(ready):
    found: Counter = Counter()

    @settings(max_examples=CASES, derandomize=CASES < 1000, suppress_health_check=list(HealthCheck))
    @given(likely=OPTIONS, edges=EDGES)
    def draw(likely, edges):
        config = ready.copy()
        drawn = likely | edges
        for key, value in drawn.items():
            if not any(key.startswith(f"{block}.") for block in drawn):  # nothing is put into a block that is replaced
                OmegaConf.update(config, key, value, merge=False, force_add=True)
        try:
            plan = check(config)
        except ConfigError as refusal:
            found["refused"] += 1
            assert len(str(refusal)) > 20
            assert "could not check" not in str(refusal), (likely, edges)
            return
        found["planned"] += 1
        assert_consistent(config, plan)
        assert describe(config, plan) and len(remarks_on_data(config)) == 1, "the same file twice"
        assert plan_table(config, plan, TINY).row_count > 5

    draw()
    print(f"\n{found.total():,} drawn: {found['planned']:,} planned, {found['refused']:,} refused")
    assert min(found["planned"], found["refused"]) > CASES // 20


def assert_consistent(config, plan: StepPlan) -> None:
    """The plan worked out again, in fractions, from the options alone."""
    rate = Fraction(str(config.cppo.pruning_rate))
    n, batch = config.actor_rollout_ref.rollout.n, config.data.train_batch_size
    ranks = config.trainer.n_gpus_per_node * config.trainer.nnodes
    ranks //= config.actor_rollout_ref.actor.ulysses_sequence_parallel_size
    questions = batch / (1 - rate) if config.cppo.allocation else Fraction(batch)
    assert (plan.keep, plan.questions) == (n * (1 - rate), questions)
    assert plan.rows == plan.questions * plan.keep
    assert plan.mini_batches == batch // config.actor_rollout_ref.actor.ppo_mini_batch_size
    assert plan.mini_batches * plan.mini_batch_rows == plan.rows
    assert plan.mini_batch_rows % ranks == 0
    limit = config.data.train_max_samples
    assert plan.steps_per_epoch(QUESTIONS if limit < 0 else min(QUESTIONS, limit)) >= 1


def test_an_option_that_is_missing_is_named(ready):
    config = ready.copy()
    OmegaConf.set_struct(config, False)
    del config.cppo.zero_variance, config.data.train_batch_size
    with pytest.raises(ConfigError) as refusal:
        check(config)
    for key in ("cppo.zero_variance", "data.train_batch_size"):
        assert f"{key} is missing" in str(refusal.value)
